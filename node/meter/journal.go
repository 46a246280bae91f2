package meter

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"go.etcd.io/bbolt"

	"github.com/bund-exchange/bund/contracts"
)

// Journal is a consumer node's durable memory of its receipts: for each agreement the acknowledged leaves, their
// sealed answers, and the last acknowledgement as signed. Leaves and answers of one acknowledgement are kept in
// chunks: a value a leaf would cost more than the receipt. Each chunk is a bucket with one value, on pages of its own,
// so that the next chunk doesn't write it again.
type Journal struct {
	db      *bbolt.DB
	sealKey []byte
}

const leavesPerChunk = 256

var (
	keyLeaves   = []byte("leaves")   // epoch ‖ first seq → chunk of leaves
	keyAnswers  = []byte("answers")  // the same key → chunk of sealed answers, each after its length
	keyDisputed = []byte("disputed") // the same key → chunk of leaves that an ended epoch left unacknowledged
	keyChunk    = []byte("v")
	keyState    = []byte("state")
	keyBreach   = []byte("breach")
)

// OpenJournal opens or makes a journal. Only one process may have it.
func OpenJournal(path string, sealKey []byte) (*Journal, error) {
	if len(sealKey) < minSealKey {
		return nil, fmt.Errorf("couldn't open receipt journal: want a seal key of at least %d bytes", minSealKey)
	}
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: 5 * time.Second, NoFreelistSync: true, FreelistType: bbolt.FreelistMapType})
	if err != nil {
		return nil, fmt.Errorf("couldn't open receipt journal: %w", err)
	}
	return &Journal{db: db, sealKey: sealKey}, nil
}

// Close waits for the transactions that run.
func (j *Journal) Close() error { return j.db.Close() }

// load gives the state of an agreement, new ones at epoch 1, and the breach that stopped it, if any.
func (j *Journal) load(agreement [16]byte) (st *logState, b *Breach, err error) {
	err = j.db.Update(func(tx *bbolt.Tx) error {
		bk, err := tx.CreateBucketIfNotExists(agreement[:])
		if err != nil {
			return err
		}
		for _, k := range [][]byte{keyLeaves, keyAnswers, keyDisputed} {
			if _, err := bk.CreateBucketIfNotExists(k); err != nil {
				return err
			}
		}
		if v := bk.Get(keyBreach); v != nil {
			b = &Breach{}
			if err := json.Unmarshal(v, b); err != nil {
				return err
			}
		}
		v := bk.Get(keyState)
		if v == nil {
			st = &logState{agreement: agreement, epoch: 1, rng: ranges.NewEmptyRange(0)}
			return bk.Put(keyState, st.append(nil))
		}
		st, err = readLogState(v)
		return err
	})
	if err != nil {
		return nil, nil, fmt.Errorf("couldn't load receipts: %w", err)
	}
	return st, b, nil
}

// acknowledge makes leaves, their answers and the signed acknowledgement durable together: it may be sent only when
// all that it acknowledges is here to stay. Answers older than keepFrom go.
func (j *Journal) acknowledge(st *logState, entries []*held, seal *sealer, keepFrom contracts.Millis) error {
	err := j.db.Update(func(tx *bbolt.Tx) error {
		bk := tx.Bucket(st.agreement[:])
		leaves, answers := bk.Bucket(keyLeaves), bk.Bucket(keyAnswers)
		for len(entries) > 0 {
			n := min(len(entries), leavesPerChunk)
			if err := putChunk(leaves, answers, st.epoch, entries[:n], seal); err != nil {
				return err
			}
			entries = entries[n:]
		}
		if err := dropAnswers(leaves, answers, keepFrom); err != nil {
			return err
		}
		return bk.Put(keyState, st.append(nil))
	})
	if err != nil {
		return fmt.Errorf("couldn't store acknowledgement: %w", err)
	}
	return nil
}

func chunkKey(epoch, first int64) []byte { return be(nil, epoch, first) }

func putChunk(leaves, answers *bbolt.Bucket, epoch int64, entries []*held, seal *sealer) error {
	size := 0
	for _, h := range entries {
		size += 4 + len(h.answer)
	}
	raws, plain := make([]byte, 0, len(entries)*LeafSize), make([]byte, 0, size)
	for _, h := range entries {
		raws = append(raws, h.raw...)
		plain = binary.BigEndian.AppendUint32(plain, uint32(len(h.answer)))
		plain = append(plain, h.answer...)
	}
	key := chunkKey(epoch, entries[0].leaf.Seq)
	if err := putValue(leaves, key, raws); err != nil || answers == nil {
		return err
	}
	return putValue(answers, key, seal.seal(plain, key))
}

func putValue(in *bbolt.Bucket, key, value []byte) error {
	b, err := in.CreateBucketIfNotExists(key)
	if err != nil {
		return err
	}
	return b.Put(keyChunk, value)
}

// chunkOf gives a chunk's value, or nil.
func chunkOf(in *bbolt.Bucket, key []byte) []byte {
	if b := in.Bucket(key); b != nil {
		return b.Get(keyChunk)
	}
	return nil
}

// dropAnswers forgets a few chunks at a time, the oldest first. The first key is sought anew after each deletion: a
// cursor may skip a key behind a deleted one.
func dropAnswers(leaves, answers *bbolt.Bucket, keepFrom contracts.Millis) error {
	for range 16 {
		k, _ := answers.Cursor().First()
		if k == nil {
			return nil
		}
		raws := chunkOf(leaves, k)
		if len(raws) < LeafSize {
			return errors.New("leaves of a chunk are missing")
		}
		last, err := DecodeLeaf(raws[len(raws)-LeafSize:])
		if err != nil || last.Time >= keepFrom {
			return err
		}
		if err := answers.DeleteBucket(bytes.Clone(k)); err != nil {
			return err
		}
	}
	return nil
}

// leaf gives an acknowledged leaf.
func (j *Journal) leaf(agreement [16]byte, epoch, seq int64) (raw []byte, err error) {
	err = j.chunk(agreement, epoch, seq, func(_, leaves, _ []byte, i int) error {
		raw = append(raw, leaves[i*LeafSize:(i+1)*LeafSize]...)
		return nil
	})
	return raw, err
}

// answer gives an acknowledged leaf and its answer.
func (j *Journal) answer(agreement [16]byte, epoch, seq int64, seal *sealer) (raw, answer []byte, err error) {
	err = j.chunk(agreement, epoch, seq, func(key, leaves, sealed []byte, i int) error {
		if sealed == nil {
			return errors.New("the answer is no longer kept")
		}
		plain, err := seal.open(sealed, key)
		if err != nil {
			return err
		}
		for ; ; i-- {
			if len(plain) < 4 {
				return errors.New("answers of a chunk are damaged")
			}
			n := int(binary.BigEndian.Uint32(plain))
			if plain = plain[4:]; n > len(plain) {
				return errors.New("answers of a chunk are damaged")
			}
			if i == 0 {
				answer = plain[:n:n]
				break
			}
			plain = plain[n:]
		}
		return nil
	})
	if err == nil {
		raw, err = j.leaf(agreement, epoch, seq)
	}
	return raw, answer, err
}

// chunk calls do with the chunk that holds seq, and seq's place in it.
func (j *Journal) chunk(agreement [16]byte, epoch, seq int64, do func(key, leaves, sealed []byte, i int) error) error {
	err := j.db.View(func(tx *bbolt.Tx) error {
		bk := tx.Bucket(agreement[:])
		leaves := bk.Bucket(keyLeaves)
		c := leaves.Cursor()
		k, _ := c.Seek(chunkKey(epoch, seq))
		if string(k) != string(chunkKey(epoch, seq)) {
			if k == nil {
				k, _ = c.Last()
			} else {
				k, _ = c.Prev()
			}
		}
		if len(k) != 16 || int64(binary.BigEndian.Uint64(k)) != epoch {
			return os.ErrNotExist
		}
		v := chunkOf(leaves, k)
		i := seq - int64(binary.BigEndian.Uint64(k[8:]))
		if i < 0 || (i+1)*LeafSize > int64(len(v)) {
			return os.ErrNotExist
		}
		return do(k, v, chunkOf(bk.Bucket(keyAnswers), k), int(i))
	})
	if err != nil {
		return fmt.Errorf("couldn't read receipt %d of epoch %d: %w", seq, epoch, err)
	}
	return nil
}

// recent gives the acknowledged leaves not older than since, oldest first.
func (j *Journal) recent(agreement [16]byte, since contracts.Millis) (found []Leaf, err error) {
	err = j.db.View(func(tx *bbolt.Tx) error {
		leaves := tx.Bucket(agreement[:]).Bucket(keyLeaves)
		c := leaves.Cursor()
		for k, _ := c.Last(); k != nil; k, _ = c.Prev() {
			v := chunkOf(leaves, k)
			for n := len(v); n >= LeafSize; n -= LeafSize {
				l, err := DecodeLeaf(v[n-LeafSize : n])
				if err != nil {
					return err
				}
				if l.Time < since {
					return nil
				}
				found = append(found, l)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("couldn't read recent receipts: %w", err)
	}
	for a, b := 0, len(found)-1; a < b; a, b = a+1, b-1 {
		found[a], found[b] = found[b], found[a]
	}
	return found, nil
}

// stopAt keeps the evidence against the provider, so that a restart doesn't forget why nothing is signed.
func (j *Journal) stopAt(agreement [16]byte, b *Breach) error {
	v, err := json.Marshal(b)
	if err != nil {
		return fmt.Errorf("couldn't store breach: %w", err)
	}
	err = j.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(agreement[:]).Put(keyBreach, v) })
	if err != nil {
		return fmt.Errorf("couldn't store breach: %w", err)
	}
	return nil
}

// nextEpoch begins an epoch; what the last one left unacknowledged is kept for the dispute.
func (j *Journal) nextEpoch(st *logState, ended int64, left []*held) error {
	err := j.db.Update(func(tx *bbolt.Tx) error {
		bk := tx.Bucket(st.agreement[:])
		for len(left) > 0 {
			n := min(len(left), leavesPerChunk)
			if err := putChunk(bk.Bucket(keyDisputed), nil, ended, left[:n], nil); err != nil {
				return err
			}
			left = left[n:]
		}
		if err := bk.Delete(keyBreach); err != nil {
			return err
		}
		return bk.Put(keyState, st.append(nil))
	})
	if err != nil {
		return fmt.Errorf("couldn't begin epoch: %w", err)
	}
	return nil
}
