package embedded

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/rfc6962"
	bolt "go.etcd.io/bbolt"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/ledger"
)

// head is a height together with what must be known there to go on: the last entry's hash and time, and the compact
// range of the published tree.
type head struct {
	height uint64
	hash   [32]byte // of entry height-1; zero at height 0
	time   contracts.Millis
	tree   [][]byte // RFC 6962 compact range over the leaves of all entries
}

// store is the state: the changes since the last flush in memory, over a bbolt file that follows the log. A crash
// loses the changes in memory; the next Open takes them from the log's write sets. The file is never ahead of the log,
// because only durable entries are merged.
type store struct {
	db   *bolt.DB
	mu   sync.RWMutex
	live layer // durable in the log, not in the file
	away layer // being flushed; nil when none
	head head  // of live

	flushing sync.Mutex // one flush at a time
	stored   head       // of the file; guarded by mu
	broken   error      // first failed flush, final: its changes must not be followed by a later height; guarded by mu
	took     time.Duration
	fail     func() error // tests make a flush fail
}

var (
	stateBucket = []byte("state")
	metaBucket  = []byte("meta")
	headKey     = []byte("head")
	ledgerKey   = []byte("ledger")
)

// mapBytes is address space, not memory. Growing the map waits for all readers, and readers that come meanwhile wait,
// too: a ledger snapshot would stop the sequencer.
const mapBytes = 32 << 30

var errForeignStore = errors.New("the state store belongs to another ledger")

func openStore(path, ledgerID string, noSync bool) (*store, error) {
	db, err := bolt.Open(path, 0o600, &bolt.Options{
		Timeout: time.Second, FreelistType: bolt.FreelistMapType, NoSync: noSync, NoGrowSync: noSync, InitialMmapSize: mapBytes,
	})
	if err != nil {
		return nil, fmt.Errorf("couldn't open the state store (without it, the log or a snapshot gives the state again): %w", err)
	}
	s := &store{db: db, live: layer{}}
	err = db.Update(func(tx *bolt.Tx) error {
		if _, err := tx.CreateBucketIfNotExists(stateBucket); err != nil {
			return err
		}
		m, err := tx.CreateBucketIfNotExists(metaBucket)
		if err != nil {
			return err
		}
		switch id := m.Get(ledgerKey); {
		case id == nil:
			if err := m.Put(ledgerKey, []byte(ledgerID)); err != nil {
				return err
			}
		case string(id) != ledgerID:
			return errForeignStore
		}
		s.stored, err = decodeHead(m.Get(headKey))
		return err
	})
	if err != nil {
		db.Close()
		return nil, fmt.Errorf("couldn't open the state store: %w", err)
	}
	s.head = s.stored
	return s, nil
}

// merge takes over the changes of durable entries. Only the sequencer calls it.
func (s *store) merge(changes layer, to head) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, c := range changes {
		s.live[k] = c
	}
	s.head = to
}

// behind is the number of changed keys that the file doesn't hold yet.
func (s *store) behind() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.live) + len(s.away)
}

// layers gives the changes over the file. They hold for as long as nobody merges, or mu is held.
func (s *store) layers() []layer {
	if s.away == nil {
		return []layer{s.live}
	}
	return []layer{s.live, s.away}
}

// view runs f on the state. Merges wait for f: it must be short, and must not submit or look up.
func (s *store) view(f func(head, *view) error) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.db.View(func(tx *bolt.Tx) error {
		return f(s.head, &view{layers: s.layers(), bucket: tx.Bucket(stateBucket)})
	})
}

// apply runs f on the state under a new layer of changes. Only the sequencer, the one who merges, may call it.
func (s *store) apply(changes layer, c *cache, f func(*view) error) error {
	s.mu.RLock()
	tx, err := s.db.Begin(false)
	layers := s.layers()
	s.mu.RUnlock()
	if err != nil {
		return fmt.Errorf("couldn't read the state store: %w", err)
	}
	defer tx.Rollback()
	return f(&view{layers: append([]layer{changes}, layers...), bucket: tx.Bucket(stateBucket), cache: c})
}

// flush writes the changes in memory to the file: all of them and their height in one transaction, keys in order.
func (s *store) flush() error {
	s.flushing.Lock()
	defer s.flushing.Unlock()
	s.mu.Lock()
	if s.broken != nil || s.head.height == s.stored.height {
		defer s.mu.Unlock()
		return s.broken
	}
	l, to := s.live, s.head
	s.live, s.away = layer{}, l
	s.mu.Unlock()

	began := time.Now()
	err := s.write(l, to)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.broken = fmt.Errorf("couldn't write the state store: %w", err)
		return s.broken
	}
	s.away, s.stored, s.took = nil, to, time.Since(began)
	return nil
}

func (s *store) write(l layer, to head) error {
	if s.fail != nil {
		if err := s.fail(); err != nil {
			return err
		}
	}
	return s.db.Update(func(tx *bolt.Tx) error {
		b := tx.Bucket(stateBucket)
		for _, k := range l.keys() {
			c := l[k]
			var err error
			if c.value == nil {
				err = b.Delete([]byte(k))
			} else {
				err = b.Put([]byte(k), encodeCell(c))
			}
			if err != nil {
				return err
			}
		}
		return tx.Bucket(metaBucket).Put(headKey, to.encode())
	})
}

// A cell in the file: position (8) ‖ value.
func encodeCell(c cell) []byte {
	return append(binary.BigEndian.AppendUint64(make([]byte, 0, 8+len(c.value)), c.position), c.value...)
}

// decodeCell copies: bbolt's bytes end with its transaction.
func decodeCell(b []byte) cell {
	if len(b) < 8 {
		return cell{}
	}
	return cell{value: append([]byte{}, b[8:]...), position: binary.BigEndian.Uint64(b)}
}

// A head in the file: height (8) ‖ hash (32) ‖ time (8) ‖ count (1) ‖ count × tree hash (32).
func (h head) encode() []byte {
	b := binary.BigEndian.AppendUint64(nil, h.height)
	b = append(b, h.hash[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(h.time))
	b = append(b, byte(len(h.tree)))
	for _, x := range h.tree {
		b = append(b, x...)
	}
	return b
}

func decodeHead(b []byte) (head, error) {
	if b == nil {
		return head{}, nil
	}
	if len(b) < 49 || len(b) != 49+32*int(b[48]) {
		return head{}, errors.New("its head is malformed")
	}
	h := head{height: binary.BigEndian.Uint64(b), hash: [32]byte(b[8:40]), time: contracts.Millis(binary.BigEndian.Uint64(b[40:]))}
	for t := b[49:]; len(t) > 0; t = t[32:] {
		h.tree = append(h.tree, append([]byte{}, t[:32]...))
	}
	_, err := treeFactory.NewRange(0, h.height, h.tree)
	return h, err
}

var treeFactory = &compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}

// hashStored gives the hash of the file's state and the head it belongs to, from one read transaction.
func hashStored(tx *bolt.Tx) ([32]byte, head, error) {
	to, err := decodeHead(tx.Bucket(metaBucket).Get(headKey))
	if err != nil {
		return [32]byte{}, head{}, err
	}
	h := hashBeside()
	err = tx.Bucket(stateBucket).ForEach(func(k, v []byte) error {
		if len(v) < 8 {
			return fmt.Errorf("its value of %q is malformed", k)
		}
		h.add(k, v[8:])
		return nil
	})
	return h.sum(), to, err
}

// besideHash hashes on another core than the one that walks the tree: both take about as long.
type besideHash struct {
	full, empty chan []pair
	result      chan [32]byte
	page        []pair
}

type pair struct{ key, value []byte } // of the open transaction

func hashBeside() *besideHash {
	h := &besideHash{full: make(chan []pair, 4), empty: make(chan []pair, 8), result: make(chan [32]byte)}
	go func() {
		s := ledger.NewStateHash()
		for page := range h.full {
			for _, p := range page {
				s.Add(string(p.key), p.value)
			}
			select {
			case h.empty <- page[:0]:
			default:
			}
		}
		h.result <- s.Sum()
	}()
	return h
}

func (h *besideHash) add(key, value []byte) {
	if h.page = append(h.page, pair{key, value}); len(h.page) < 1024 {
		return
	}
	h.full <- h.page
	select {
	case h.page = <-h.empty:
	default:
		h.page = make([]pair, 0, 1024)
	}
}

// sum must be called once, while the transaction is open.
func (h *besideHash) sum() [32]byte {
	h.full <- h.page
	close(h.full)
	return <-h.result
}
