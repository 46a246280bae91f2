// Package session runs one agreed protocol between two nodes to its end, whatever breaks on the way: connections,
// either process, both.
//
// A session is opened by a metered call under an agreement (elsewhere), which gives it its id and its bounds. The
// consumer's node connects (Client), the provider's serves (Handler); who a peer is has been decided before. Each side
// keeps the frames of both directions, numbered from 0, in two logs on its disk:
//
//	C→P  GET  …/frames                  {received, sent}: what the other side has
//	C→P  PUT  …/frames/{n}              own frame n; 204 once it is durable there. Again: 204, if it is the same
//	C→P  GET  …/frames/{n}?wait=sec     the other side's frame n; 204 if there is none within the wait
//	C→P  POST …/end                     {code}: the protocol ended here with a refusal, for good
//
// What must be durable before what:
//
//	frame is sent or served   frame, on the sender's disk
//	204 to a PUT              frame, on the receiver's disk
//	protocol goes on          the frames that it read, and its own record (Record, Tapes)
//	session is done           result at its owner; then the outcome; then frames, tapes and record go
//
// A frame that was once durable is never made again, so both sides' transcripts are the same whatever was cut. A first
// failed write or sync stops the session in this process; what is on disk then is found out when it is opened again.
//
// One process holds a shelf of sessions (file lock), and one goroutine runs a session's protocol at a time. A session
// is bounded in bytes a direction and in time: at its end everything it kept is destroyed, whether it is done or not.
package session
