package stats

// Store keeps one role's state in one task: reports that were taken, batches, results. It is the only memory against
// replay: a store that loses a committed transaction lets a report count twice.
//
// Update runs fn in one transaction. When it returns nil, all that fn wrote is durable; when it returns fn's error, or
// another, none of it is. Calls may come from several goroutines; transactions that write run one after another.
type Store interface {
	Update(fn func(Tx) error) error
	View(fn func(Tx) error) error
}

// Tx is a transaction. What Get and Scan give is valid until it ends.
type Tx interface {
	Get(key []byte) []byte // nil when there is none
	Put(key, value []byte) error
	Delete(key []byte) error
	// Scan calls fn for all keys with the prefix, ascending, until it answers false. fn writes nothing.
	Scan(prefix []byte, fn func(key, value []byte) bool) error
}
