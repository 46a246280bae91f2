package stats

import (
	"bytes"
	"crypto/rand"
	"fmt"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/privacy/envelope"
)

// ReportID names one report: Prio3's nonce, 16 random bytes. It holds nothing of the value or of whom it is about.
type ReportID [16]byte

// MaxUploadBytes bounds one upload, and so how many reports it holds.
const MaxUploadBytes = 4 << 20

// Uploads splits values into reports and gives, for each aggregator, the uploads that bring it its halves: the i-th of
// one holds the same reports as the i-th of the other. Keep them until both aggregators have taken them: splitting the
// same values again makes other reports, which would count twice. keys are the aggregators' HPKE keys on the ledger.
func Uploads(t *Task, keys [2]contracts.PublicKey, values []int64) (to [2][][]byte, err error) {
	if err := t.Check(); err != nil {
		return to, err
	}
	if keys[Leader] == keys[Helper] {
		return to, refuse(BadTask, "the aggregators have a key each")
	}
	s, err := newScheme(t)
	if err != nil {
		return to, err
	}
	measurements := make([]uint64, len(values))
	for i, v := range values { // all of them before any is split
		if measurements[i], err = t.measurement(v); err != nil {
			return to, err
		}
	}
	for most := s.uploadReports(); len(measurements) > 0; {
		n := min(most, len(measurements))
		up, err := s.upload(t, keys, measurements[:n])
		if err != nil {
			return to, err
		}
		for i := range to {
			to[i] = append(to[i], up[i])
		}
		measurements = measurements[n:]
	}
	return to, nil
}

// uploadReports is how many reports one upload holds at most.
func (s *scheme) uploadReports() int { return max(1, (MaxUploadBytes-headerBytes)/s.halfBytes(Leader)) }

// halfBytes is the size of one aggregator's half of a report: id ‖ public share ‖ sealed input share.
func (s *scheme) halfBytes(role int) int {
	return len(ReportID{}) + s.size.public + s.size.input[role] + envelope.MessageOverhead
}

func (s *scheme) upload(t *Task, keys [2]contracts.PublicKey, measurements []uint64) (up [2][]byte, err error) {
	for i := range up {
		up[i] = appendHeader(make([]byte, 0, headerBytes+len(measurements)*s.halfBytes(i)), uploadMessage, t.digest(), 0, len(measurements))
	}
	random := make([]byte, s.size.random)
	defer clear(random)
	for _, m := range measurements {
		var id ReportID
		rand.Read(id[:])
		rand.Read(random)
		n := nonce(id)
		public, inputs, err := s.shard(m, &n, random)
		if err != nil {
			return up, err
		}
		for i := range up {
			sealed, err := envelope.SealMessage(keys[i], inputInfo(i), inputAAD(t, id, public), inputs[i])
			if err != nil {
				return up, fmt.Errorf("couldn't seal input share: %w", err)
			}
			up[i] = append(append(append(up[i], id[:]...), public...), sealed...)
		}
	}
	return up, nil
}

// half is what one aggregator gets of a report.
type half struct {
	id     ReportID
	public []byte
	sealed []byte
}

// readUpload reads an upload for one aggregator: exactly the bytes of its reports, each id once.
func (s *scheme) readUpload(t *Task, role int, b []byte) ([]half, error) {
	if len(b) > max(MaxUploadBytes, headerBytes+s.halfBytes(role)) {
		return nil, refuse(BadForm, "an upload has %d bytes at most", MaxUploadBytes)
	}
	batch, n, rest, err := readHeader(b, uploadMessage, t.digest())
	if err == nil && batch != 0 {
		err = refuse(BadForm, "an upload belongs to no batch yet")
	}
	if err != nil {
		return nil, err
	}
	size := s.halfBytes(role)
	if n < 1 || len(rest) != n*size {
		return nil, refuse(BadForm, "an upload has one report at least, of %d bytes each", size)
	}
	hs := make([]half, n)
	seen := make(map[ReportID]bool, n)
	for i := range hs {
		x := rest[i*size : (i+1)*size]
		hs[i] = half{ReportID(x[:16]), x[16 : 16+s.size.public], x[16+s.size.public:]}
		if seen[hs[i].id] {
			return nil, refuse(Replayed, "an upload holds a report twice")
		}
		seen[hs[i].id] = true
	}
	return hs, nil
}

// open gives the input share that this aggregator holds of the report.
func (h *half) open(t *Task, role int, key *envelope.Key) ([]byte, error) {
	input, err := key.OpenMessage(inputInfo(role), inputAAD(t, h.id, h.public), h.sealed)
	if err != nil {
		return nil, refuse(BadShare, "an input share was not sealed to this aggregator for this task and report")
	}
	return input, nil
}

// inputInfo tells the two aggregators' shares apart: one is not the other's.
func inputInfo(role int) []byte { return fmt.Appendf(nil, "bund/stats/v1 input share %d", role) }

// inputAAD is all that an input share belongs to.
func inputAAD(t *Task, id ReportID, public []byte) []byte {
	d := t.digest()
	return bytes.Join([][]byte{d[:], id[:], public}, nil)
}

// contributorBytes is a member's id as it stands in records.
func contributorBytes(id contracts.ID) []byte { b := id.Bytes(); return b[:] }
