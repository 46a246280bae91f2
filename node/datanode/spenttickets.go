package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"time"

	"go.etcd.io/bbolt"

	"github.com/bund-exchange/bund/contracts"
)

// spentTickets remembers the nonces of tickets until they have expired: a ticket is good for one call.
type spentTickets struct {
	db  *bbolt.DB
	now func() time.Time
}

var spentBucket = []byte("spent") // end u64 ‖ nonce → use

// spentMargin keeps a nonce beyond its ticket's end, for a clock that is set back.
const spentMargin = contracts.Millis(10 * 60 * 1000)

func openSpentTickets(path string, now func() time.Time) (*spentTickets, error) {
	db, err := openBolt(path, spentBucket)
	if err != nil {
		return nil, fmt.Errorf("couldn't open used tickets: %w", err)
	}
	return &spentTickets{db, now}, nil
}

func (s *spentTickets) close() error { return s.db.Close() }

// Spend implements consent.Spent. The end stands in the ticket beside the nonce, under one signature: a ticket has one key.
func (s *spentTickets) Spend(nonce [16]byte, use contracts.Hash, until contracts.Millis) (free bool, err error) {
	key := append(binary.BigEndian.AppendUint64(nil, uint64(until)), nonce[:]...)
	err = s.db.Batch(func(tx *bbolt.Tx) error {
		b := tx.Bucket(spentBucket)
		if was := b.Get(key); was != nil {
			free = bytes.Equal(was, []byte(use))
			return nil
		}
		free = true
		if err := forgetBefore(b, contracts.Millis(s.now().UnixMilli())-spentMargin); err != nil {
			return err
		}
		return b.Put(key, []byte(use))
	})
	return free, err
}
