package fabric

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
	"github.com/bund-exchange/bund/ledger"
	"github.com/bund-exchange/bund/ledger/fabric/blocks"
)

// store is what this process has derived from the blocks of its peer: entries, the state after them, and the block to
// read next, all of one block in one transaction of the file. So a restart goes on without gap or repeat. It holds
// nothing that the channel doesn't: a lost file is derived again.
type store struct{ db *bolt.DB }

var (
	entryBucket = []byte("entries") // position -> encoded entry
	stateBucket = []byte("state")   // key -> position of the entry that wrote it, value
	epochBucket = []byte("epochs")  // number -> time, as the block held it
	metaBucket  = []byte("meta")
	markKey     = []byte("mark")
	whoseKey    = []byte("ledger")
)

// mark is how far the store is.
type mark struct {
	Block  uint64   `json:"block"`  // next to read
	Head   [32]byte `json:"head"`   // header hash of the block before
	Commit []byte   `json:"commit"` // its commit hash
	Height uint64   `json:"height"` // entries
	Hash   [32]byte `json:"hash"`   // of the last entry
}

// errForeign means that the file was derived from another channel or for another ledger.
var errForeign = errors.New("the file holds entries of another ledger; give each ledger a folder of its own")

func openStore(path, whose string) (*store, error) {
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: time.Second, FreelistType: bolt.FreelistMapType, InitialMmapSize: 1 << 30})
	if err != nil {
		return nil, fmt.Errorf("couldn't open %s: %w", path, err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		for _, b := range [][]byte{entryBucket, stateBucket, epochBucket, metaBucket} {
			if _, err := tx.CreateBucketIfNotExists(b); err != nil {
				return err
			}
		}
		m := tx.Bucket(metaBucket)
		switch id := m.Get(whoseKey); {
		case id == nil:
			return m.Put(whoseKey, []byte(whose))
		case string(id) != whose:
			return errForeign
		}
		return nil
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("couldn't open %s: %w", path, err), db.Close())
	}
	return &store{db}, nil
}

func (s *store) close() error { return s.db.Close() }

func (s *store) mark() (m mark, err error) {
	err = s.db.View(func(tx *bolt.Tx) error {
		m, err = markOf(tx)
		return err
	})
	return m, err
}

func markOf(tx *bolt.Tx) (m mark, err error) {
	b := tx.Bucket(metaBucket).Get(markKey)
	if b == nil {
		return mark{}, nil
	}
	if err := canon.Unmarshal(b, &m); err != nil {
		return mark{}, fmt.Errorf("couldn't read how far the entries are: %w", err)
	}
	return m, nil
}

// take adds blocks that follow the last, and gives the entries that they hold.
func (s *store) take(m mark, ds []*derived) (mark, []*ledger.Stored, error) {
	var all []*ledger.Stored
	err := s.db.Update(func(tx *bolt.Tx) error {
		entries, state := tx.Bucket(entryBucket), tx.Bucket(stateBucket)
		for _, d := range ds {
			if d.Number != m.Block || (m.Block > 0 && d.previous != m.Head) {
				return fmt.Errorf("block %d does not follow block %d: this peer's channel is another than the one read before", d.Number, m.Block-1)
			}
			es := blocks.Entries(m.Hash, m.Height, d.Commands)
			for _, e := range es {
				if err := entries.Put(number(e.Position), e.Encoded); err != nil {
					return err
				}
				for _, w := range e.Writes {
					if err := write(state, e.Position, w); err != nil {
						return err
					}
				}
				m.Height, m.Hash = e.Position+1, e.Hash
			}
			for _, e := range d.Epochs {
				if err := tx.Bucket(epochBucket).Put(number(e.N), number(uint64(e.Time))); err != nil {
					return err
				}
			}
			m.Block, m.Head, m.Commit = d.Number+1, d.hash, d.commit
			all = append(all, es...)
		}
		return tx.Bucket(metaBucket).Put(markKey, canon.Marshal(m))
	})
	if err != nil {
		return m, nil, fmt.Errorf("couldn't keep derived entries: %w", err)
	}
	return m, all, nil
}

func write(state *bolt.Bucket, position uint64, w contracts.Write) error {
	if w.Value == nil {
		return state.Delete([]byte(w.Key))
	}
	return state.Put([]byte(w.Key), append(number(position), w.Value...))
}

func number(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// entries gives up to limit entries from position from on.
func (s *store) entries(from uint64, limit int) (out []*ledger.Stored, err error) {
	err = s.db.View(func(tx *bolt.Tx) error {
		c := tx.Bucket(entryBucket).Cursor()
		size := 0
		for k, v := c.Seek(number(from)); k != nil && len(out) < limit && size < readAtOnce; k, v = c.Next() {
			b := append([]byte(nil), v...)
			e, err := ledger.DecodeEntry(b)
			if err != nil || e.Position != from+uint64(len(out)) {
				return fmt.Errorf("entry %d is not what was derived: %w", from+uint64(len(out)), errors.Join(ledger.ErrDamaged, err))
			}
			out = append(out, &ledger.Stored{Entry: e, Encoded: b, Hash: ledger.Hash(b)})
			size += len(b)
		}
		return nil
	})
	return out, err
}

// readAtOnce bounds what one call of Entries reads.
const readAtOnce = 4 << 20

// epochs gives the newest epoch with its time, and the first one that began after t, 0 when there is none.
func (s *store) epochs(t contracts.Millis) (newest uint64, began contracts.Millis, after uint64, err error) {
	err = s.db.View(func(tx *bolt.Tx) error {
		newest, began, after = epochsAt(tx, t)
		return nil
	})
	return newest, began, after, err
}

func epochsAt(tx *bolt.Tx, t contracts.Millis) (newest uint64, began contracts.Millis, after uint64) {
	c := tx.Bucket(epochBucket).Cursor()
	k, v := c.Last()
	if k == nil {
		return 0, 0, 0
	}
	newest, began = binary.BigEndian.Uint64(k), contracts.Millis(binary.BigEndian.Uint64(v))
	for ; k != nil && contracts.Millis(binary.BigEndian.Uint64(v)) > t; k, v = c.Prev() {
		after = binary.BigEndian.Uint64(k)
	}
	return newest, began, after
}

// view reads the state at one height. Values belong to the transaction.
type view struct{ state *bolt.Bucket }

var _ contracts.State = view{}

// Get gives the value of key, or nil.
func (v view) Get(key string) ([]byte, error) {
	value, _ := v.find(key)
	return value, nil
}

// find gives the value with the position of the entry that wrote it; nil when there is none.
func (v view) find(key string) (value []byte, position uint64) {
	b := v.state.Get([]byte(key))
	if len(b) < 8 {
		return nil, 0
	}
	return b[8:], binary.BigEndian.Uint64(b)
}

// view runs read at the store's height.
func (s *store) view(read func(m mark, v view) error) error {
	return s.db.View(func(tx *bolt.Tx) error {
		m, err := markOf(tx)
		if err != nil {
			return err
		}
		return read(m, view{tx.Bucket(stateBucket)})
	})
}

// stateHash is the hash of the state, see ledger.StateHash.
func (s *store) stateHash() (height uint64, hash [32]byte, err error) {
	err = s.view(func(m mark, v view) error {
		h := ledger.NewStateHash()
		height = m.Height
		return errors.Join(v.state.ForEach(func(k, b []byte) error {
			h.Add(string(k), b[8:])
			return nil
		}), func() error { hash = h.Sum(); return nil }())
	})
	return height, hash, err
}
