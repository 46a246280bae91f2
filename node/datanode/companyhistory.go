package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"time"

	"go.etcd.io/bbolt"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
	"github.com/bund-exchange/bund/contracts/policy"
)

// histories is what a consent service keeps for the companies: who was given a ticket about them, when and for what. It
// is theirs to read. Companies are found by a keyed hash of their code, and entries are sealed: the file tells no code.
// Beside it stand the tickets that live, so that an application sent twice is counted once.
type histories struct {
	db  *bbolt.DB
	box *strongbox
}

// historyEntry is one ticket about one company.
type historyEntry struct {
	Agreement contracts.ID         `json:"agreement"`
	Bank      contracts.ID         `json:"bank"`
	Code      contracts.CreditCode `json:"code"`
	Consent   contracts.ID         `json:"consent"`
	Purpose   policy.Purpose       `json:"purpose"`
	Time      contracts.Millis     `json:"time"`
	Version   contracts.ID         `json:"version"` // of the product
}

var (
	historyBucket = []byte("history") // keyed hash of the code ‖ time ‖ number → sealed entry
	issuedBucket  = []byte("issued")  // end u64 ‖ hash of the application → sealed ticket
)

func openHistories(path string, box *strongbox) (*histories, error) {
	db, err := openBolt(path, historyBucket, issuedBucket)
	if err != nil {
		return nil, fmt.Errorf("couldn't open histories: %w", err)
	}
	return &histories{db, box}, nil
}

// openBolt opens a store of this node with its buckets.
func openBolt(path string, buckets ...[]byte) (*bbolt.DB, error) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Second})
	if err != nil {
		return nil, err
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, b := range buckets {
			if _, err := tx.CreateBucketIfNotExists(b); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		db.Close()
		return nil, err
	}
	return db, nil
}

func (h *histories) close() error { return h.db.Close() }

// company is the keyed hash by which a company's entries are found.
func (h *histories) company(code contracts.CreditCode) []byte {
	m := hmac.New(sha256.New, h.box.mac)
	m.Write([]byte(code))
	return m.Sum(nil)
}

// add makes entries and the ticket durable, in one transaction; and forgets tickets that no longer live.
func (h *histories) add(application, ticket []byte, end contracts.Millis, entries []historyEntry) error {
	err := h.db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(historyBucket)
		for _, e := range entries {
			n, err := b.NextSequence()
			if err != nil {
				return err
			}
			key := binary.BigEndian.AppendUint64(h.company(e.Code), uint64(e.Time))
			key = binary.BigEndian.AppendUint64(key, n)
			if err := b.Put(key, h.box.seal(string(key), canon.Marshal(e))); err != nil {
				return err
			}
		}
		issued := tx.Bucket(issuedBucket)
		if len(entries) > 0 {
			if err := forgetBefore(issued, entries[0].Time); err != nil {
				return err
			}
		}
		key := issuedKey(application, end)
		return issued.Put(key, h.box.seal(string(key), ticket))
	})
	if err != nil {
		return fmt.Errorf("couldn't keep a history: %w", err)
	}
	return nil
}

func issuedKey(application []byte, end contracts.Millis) []byte {
	d := sha256.Sum256(application)
	return append(binary.BigEndian.AppendUint64(nil, uint64(end)), d[:]...)
}

// forgetBefore deletes what ended before a time, of a bucket whose keys begin with their end.
func forgetBefore(b *bbolt.Bucket, now contracts.Millis) error {
	c := b.Cursor()
	for k, _ := c.First(); k != nil && contracts.Millis(binary.BigEndian.Uint64(k)) < now; k, _ = c.First() {
		if err := c.Delete(); err != nil {
			return err
		}
	}
	return nil
}

// issued gives the ticket of an application that was answered before, nil when there is none that lives.
func (h *histories) issued(application []byte, now contracts.Millis) (ticket []byte, err error) {
	d := sha256.Sum256(application)
	err = h.db.View(func(tx *bbolt.Tx) error {
		c := tx.Bucket(issuedBucket).Cursor()
		for k, v := c.Seek(binary.BigEndian.AppendUint64(nil, uint64(now))); k != nil; k, v = c.Next() {
			if [32]byte(k[8:]) == d {
				ticket, err = h.box.open(string(k), v)
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("couldn't read a ticket: %w", err)
	}
	return ticket, nil
}

// of gives a company's history, the latest first, not more than most entries.
func (h *histories) of(code contracts.CreditCode, most int) (entries []historyEntry, err error) {
	prefix := h.company(code)
	err = h.db.View(func(tx *bbolt.Tx) error {
		c := tx.Bucket(historyBucket).Cursor()
		after := append(append([]byte{}, prefix...), 0xff)
		next, _ := c.Seek(after)
		k, v := c.Prev() // from the first entry of the next company
		if next == nil {
			k, v = c.Last()
		}
		for ; k != nil && len(k) == len(prefix)+16 && hmac.Equal(k[:len(prefix)], prefix) && len(entries) < most; k, v = c.Prev() {
			b, err := h.box.open(string(k), v)
			if err != nil {
				return errors.New("an entry is damaged, or not sealed by this node")
			}
			var e historyEntry
			if err := canon.Unmarshal(b, &e); err != nil {
				return err
			}
			entries = append(entries, e)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("couldn't read a history: %w", err)
	}
	return entries, nil
}

// maxHistory is how many entries one answer has.
const maxHistory = 1000

// usedConsent is how often a company's consent was used here.
type usedConsent struct {
	Consent contracts.ID `json:"consent"`
	Used    int64        `json:"used"`
}

// localHistory gives a company its own history. The service's own systems ask, once they know that it is the company; the
// code is in the body and not in the address, which is written down in places.
func (l *lookups) localHistory(w http.ResponseWriter, r *http.Request) {
	var q struct {
		Subject contracts.CreditCode `json:"subject"`
	}
	if !decode(w, r, &q) {
		return
	}
	if err := q.Subject.Check(); err != nil {
		malformed(w, err.Error())
		return
	}
	entries, err := l.asked.of(q.Subject, maxHistory)
	if err != nil {
		l.n.localError(w, r, err)
		return
	}
	used, seen := []usedConsent{}, map[contracts.ID]bool{}
	for _, e := range entries {
		if !seen[e.Consent] {
			seen[e.Consent] = true
			used = append(used, usedConsent{e.Consent, l.n.consents.Used(e.Consent)})
		}
	}
	if entries == nil {
		entries = []historyEntry{}
	}
	answer(w, map[string]any{"entries": entries, "used": used, "note": historyNote})
}

// historyNote is what a history says and doesn't.
const historyNote = "凭证最多活五分钟；撤回后不再签发；已打开的行在密钥期结束前仍可打开 · A ticket lives for five minutes at most. After a revocation none is given. Rows that were opened stay open until the key epoch ends."
