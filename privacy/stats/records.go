package stats

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"github.com/bund-exchange/bund/contracts"
)

// An aggregator's records in its store, by the first byte of their key:
//
//	m                      where it stands
//	r report               a report that was taken, forever: a report id counts once
//	w number               leader: a report that waits, in the order in which they are proposed
//	b batch                the batch's state, count and total
//	s batch report         a report that the batch counts
//	c batch member         a contributor of which the batch counts a report
//	j, a, o                leader: the job that is out; helper: its last answer; leader: the order to close that is out
//	k batch                helper: its answer to the order to close
type recordKind byte

const (
	standingRecord    recordKind = 'm'
	reportRecord      recordKind = 'r'
	waitingRecord     recordKind = 'w'
	batchRecord       recordKind = 'b'
	countedRecord     recordKind = 's'
	contributorRecord recordKind = 'c'
	jobRecord         recordKind = 'j'
	answerRecord      recordKind = 'a'
	orderRecord       recordKind = 'o'
	closedRecord      recordKind = 'k'
)

func record(k recordKind, parts ...[]byte) []byte {
	b := []byte{byte(k)}
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}

func number(n int64) []byte { return binary.BigEndian.AppendUint64(nil, uint64(n)) }

// int64Of reads what number wrote.
func int64Of(b []byte) int64 { return int64(binary.BigEndian.Uint64(b)) }

// errDamaged is a failure: a record that this package can't have written.
func errDamaged(k recordKind) error {
	return fmt.Errorf("couldn't read store: a record %q is damaged", byte(k))
}

// standing is where an aggregator stands.
type standing struct {
	open    int64 // the batch that takes reports, from 1
	next    int64 // the last number that a waiting report or a job was given
	waiting int64
	refused int64 // reports found invalid
}

func getStanding(tx Tx) (standing, error) {
	b := tx.Get(record(standingRecord))
	if b == nil {
		return standing{open: 1}, nil
	}
	if len(b) != 32 {
		return standing{}, errDamaged(standingRecord)
	}
	at := func(i int) int64 { return int64Of(b[8*i:]) }
	return standing{at(0), at(1), at(2), at(3)}, nil
}

func (s standing) put(tx Tx) error {
	var b []byte
	for _, n := range []int64{s.open, s.next, s.waiting, s.refused} {
		b = append(b, number(n)...)
	}
	return tx.Put(record(standingRecord), b)
}

type reportStatus byte

const (
	reportWaiting reportStatus = iota + 1
	reportCounted
	reportInvalid
)

// taken is a report as an aggregator keeps it. Its shares are there while it waits.
type taken struct {
	status reportStatus
	from   contracts.ID
	digest [sha256.Size]byte // of the half that came
	public []byte
	input  []byte
}

const takenBytes = 1 + 16 + sha256.Size

func (s *scheme) getReport(tx Tx, role int, id ReportID) (*taken, error) {
	b := tx.Get(record(reportRecord, id[:]))
	if b == nil {
		return nil, nil
	}
	if len(b) < takenBytes {
		return nil, errDamaged(reportRecord)
	}
	r := &taken{status: reportStatus(b[0]), from: contracts.ID(fmt.Sprintf("%x", b[1:17])), digest: [sha256.Size]byte(b[17:takenBytes])}
	shares := append([]byte(nil), b[takenBytes:]...)
	if r.status == reportWaiting {
		if len(shares) != s.size.public+s.size.input[role] {
			return nil, errDamaged(reportRecord)
		}
		r.public, r.input = shares[:s.size.public], shares[s.size.public:]
	}
	return r, nil
}

func (r *taken) put(tx Tx, id ReportID) error {
	from := r.from.Bytes()
	b := append([]byte{byte(r.status)}, from[:]...)
	b = append(b, r.digest[:]...)
	if r.status == reportWaiting {
		b = append(append(b, r.public...), r.input...)
	}
	return tx.Put(record(reportRecord, id[:]), b)
}

type batchStatus byte

const (
	batchOpen batchStatus = iota + 1
	batchClosed
	batchSpoiled
)

// batch is one fixed set of reports: each report is in one batch, and each batch gives one result.
type batch struct {
	status batchStatus
	count  int64
	set    [sha256.Size]byte // once closed: of the ids of its reports
	total  []byte            // this aggregator's share of the sum; nil before the first report, and of a spoiled batch
}

func getBatch(tx Tx, n int64) (batch, error) {
	b := tx.Get(record(batchRecord, number(n)))
	if b == nil {
		return batch{status: batchOpen}, nil
	}
	if len(b) < batchBytes {
		return batch{}, errDamaged(batchRecord)
	}
	x := batch{status: batchStatus(b[0]), count: int64Of(b[1:]), set: [sha256.Size]byte(b[9:batchBytes])}
	if len(b) > batchBytes {
		x.total = append([]byte(nil), b[batchBytes:]...)
	}
	return x, nil
}

func (b batch) put(tx Tx, n int64) error {
	return tx.Put(record(batchRecord, number(n)), record(recordKind(b.status), number(b.count), b.set[:], b.total))
}

const batchBytes = 1 + 8 + sha256.Size

// reportSet is SHA-256 over the ids of all reports that a batch counts, ascending: what the two aggregators compare.
func reportSet(tx Tx, n int64) (d [sha256.Size]byte, err error) {
	h := sha256.New()
	prefix := record(countedRecord, number(n))
	err = tx.Scan(prefix, func(k, _ []byte) bool {
		h.Write(k[len(prefix):])
		return true
	})
	return [sha256.Size]byte(h.Sum(nil)), err
}

// contributors counts those of whom the batch has a report, up to two.
func contributors(tx Tx, n int64) (count int, err error) {
	err = tx.Scan(record(contributorRecord, number(n)), func(_, _ []byte) bool {
		count++
		return count < 2
	})
	return count, err
}
