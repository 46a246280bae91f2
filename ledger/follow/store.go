package follow

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/transparency-dev/merkle/compact"
	bolt "go.etcd.io/bbolt"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/ledger/publish"
)

// store keeps what a follower has verified. Each step is one transaction: tree, head, state and own objects are always
// of the same position, so a killed node goes on where it was.
type store struct{ db *bolt.DB }

var (
	bucketMeta  = []byte("meta")
	bucketState = []byte("state") // key → value
	bucketMine  = []byte("mine")  // 16 bytes of an object id → nothing

	bucketLeaves = []byte("leaves") // number of a bundle → its leaf hashes so far, 32 bytes each: what a loss is cut by

	keyEpoch    = []byte("epoch")    // of the last accepted loss, 8 bytes; absent: 0
	keyIdentity = []byte("identity") // of the trust root and the member; another's file is refused
	keySize     = []byte("size")
	keyRange    = []byte("range") // compact range of [0, size), 32 bytes a hash
	keyHead     = []byte("head")  // largest signed checkpoint that extends everything followed
	keyLast     = []byte("last")  // ledger.Hash of entry size-1; empty when its body is not ours
	keyFork     = []byte("fork")  // two signed checkpoints that exclude each other
)

// ErrForeignStore: the file belongs to another ledger, log key or member.
var ErrForeignStore = errors.New("follow: the local state is of another trust root or member")

func openStore(path string, identity []byte) (*store, error) {
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: 2 * time.Second})
	if err != nil {
		return nil, fmt.Errorf("couldn't open the followed state: %w", err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		for _, b := range [][]byte{bucketMeta, bucketState, bucketMine, bucketLeaves} {
			if _, err := tx.CreateBucketIfNotExists(b); err != nil {
				return err
			}
		}
		meta := tx.Bucket(bucketMeta)
		have := meta.Get(keyIdentity)
		if have == nil {
			return meta.Put(keyIdentity, identity)
		}
		if !bytes.Equal(have, identity) {
			return ErrForeignStore
		}
		return nil
	})
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &store{db}, nil
}

func identityOf(t TrustRoot, me contracts.ID, all bool) []byte {
	return fmt.Appendf(nil, "bund/follow/v1\n%s\n%s\n%s\n%s\n%v\n", t.Ledger, t.Genesis, t.LogKey, me, all)
}

// loaded is what a store holds.
type loaded struct {
	rng   *compact.Range
	head  []byte
	last  []byte
	fork  []byte
	mine  map[[16]byte]struct{}
	st    *state
	epoch uint64
}

func (s *store) load() (loaded, error) {
	l := loaded{mine: map[[16]byte]struct{}{}, st: newState()}
	err := s.db.View(func(tx *bolt.Tx) error {
		meta := tx.Bucket(bucketMeta)
		var size uint64
		if b := meta.Get(keySize); len(b) == 8 {
			size = binary.BigEndian.Uint64(b)
		} else if b != nil {
			return errors.New("size is damaged")
		}
		if b := meta.Get(keyEpoch); len(b) == 8 {
			l.epoch = binary.BigEndian.Uint64(b)
		}
		var hashes [][]byte
		for b := bytes.Clone(meta.Get(keyRange)); len(b) >= 32; b = b[32:] {
			hashes = append(hashes, b[:32:32])
		}
		var err error
		if l.rng, err = publish.Factory.NewRange(0, size, hashes); err != nil {
			return fmt.Errorf("compact range is damaged: %w", err)
		}
		l.head, l.last, l.fork = bytes.Clone(meta.Get(keyHead)), bytes.Clone(meta.Get(keyLast)), bytes.Clone(meta.Get(keyFork))
		if err := tx.Bucket(bucketMine).ForEach(func(k, _ []byte) error {
			if len(k) != 16 {
				return errors.New("object id is damaged")
			}
			l.mine[[16]byte(k)] = struct{}{}
			return nil
		}); err != nil {
			return err
		}
		return tx.Bucket(bucketState).ForEach(func(k, v []byte) error {
			l.st.m[string(k)] = append([]byte{}, v...)
			l.st.sorted = append(l.st.sorted, string(k))
			return nil
		})
	})
	if err != nil {
		return loaded{}, fmt.Errorf("couldn't load the followed state: %w", err)
	}
	return l, nil
}

// step is everything that one verified advance changes.
type step struct {
	rng    *compact.Range
	head   []byte
	last   []byte
	writes []contracts.Write // in entry order
	mine   [][16]byte        // new ones
	leaves [][]byte          // all, up to rng's end
	epoch  uint64
}

func (s *store) commit(x step) error {
	err := s.db.Update(func(tx *bolt.Tx) error {
		st, mine, meta := tx.Bucket(bucketState), tx.Bucket(bucketMine), tx.Bucket(bucketMeta)
		for _, w := range x.writes {
			var err error
			if w.Value == nil {
				err = st.Delete([]byte(w.Key))
			} else {
				err = st.Put([]byte(w.Key), w.Value)
			}
			if err != nil {
				return err
			}
		}
		for _, id := range x.mine {
			if err := mine.Put(id[:], []byte{}); err != nil {
				return err
			}
		}
		if err := addLeaves(tx.Bucket(bucketLeaves), x.rng.End()-uint64(len(x.leaves)), x.leaves); err != nil {
			return err
		}
		for _, kv := range []struct{ k, v []byte }{
			{keyEpoch, binary.BigEndian.AppendUint64(nil, x.epoch)},
			{keySize, binary.BigEndian.AppendUint64(nil, x.rng.End())},
			{keyRange, bytes.Join(x.rng.Hashes(), nil)},
			{keyHead, x.head},
			{keyLast, x.last},
		} {
			if err := meta.Put(kv.k, kv.v); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("couldn't save the followed state: %w", err)
	}
	return nil
}

// keepHead replaces the head of an unchanged size by one with newer cosignatures.
func (s *store) keepHead(signed []byte) error { return s.put(keyHead, signed) }

// fork gives the evidence, nil without one.
func (s *store) fork() (evidence []byte, err error) {
	err = s.db.View(func(tx *bolt.Tx) error {
		evidence = bytes.Clone(tx.Bucket(bucketMeta).Get(keyFork))
		return nil
	})
	return evidence, err
}

// keepFork makes a contradiction final.
func (s *store) keepFork(evidence []byte) error { return s.put(keyFork, evidence) }

func (s *store) put(k, v []byte) error {
	err := s.db.Update(func(tx *bolt.Tx) error { return tx.Bucket(bucketMeta).Put(k, v) })
	if err != nil {
		return fmt.Errorf("couldn't save the followed state: %w", err)
	}
	return nil
}

func (s *store) close() error { return s.db.Close() }
