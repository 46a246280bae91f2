package meter

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"hash"
	"sync"
	"time"

	"github.com/bund-exchange/bund/contracts"
)

// Nonce is the application's idempotency key for one call: 48 bits of milliseconds, 80 random bits.
type Nonce [16]byte

// NewNonce makes a nonce for a call begun at now.
func NewNonce(now time.Time) (n Nonce) {
	binary.BigEndian.PutUint64(n[:8], uint64(now.UnixMilli())<<16)
	rand.Read(n[6:])
	return n
}

func (n Nonce) issued() contracts.Millis {
	return contracts.Millis(binary.BigEndian.Uint64(n[:8]) >> 16)
}

// RequestID is a nonce and a tag that only the consumer can make. The tag lets a consumer that lost its memory
// recognise a leaf as its own without having written anything before it asked, and lets nobody invent a call of it.
type RequestID [32]byte

// Nonce gives the application's part.
func (r RequestID) Nonce() Nonce { return Nonce(r[:16]) }

func (r RequestID) tag() [16]byte { return [16]byte(r[16:]) }

// String is the form in the Bund-Request header.
func (r RequestID) String() string { return base64.RawURLEncoding.EncodeToString(r[:]) }

// ParseRequestID reads the form of the Bund-Request header.
func ParseRequestID(s string) (r RequestID, err error) {
	if len(s) != 43 {
		return r, errors.New("couldn't read request id: want 43 characters")
	}
	if n, err := strictURL.Decode(r[:], []byte(s)); err != nil || n != len(r) {
		return RequestID{}, errors.New("couldn't read request id: want base64url of 32 bytes")
	}
	return r, nil
}

var strictURL = base64.RawURLEncoding.Strict()

// requestKey makes and recognises the consumer's request ids. An HMAC is reused with its key schedule.
type requestKey struct {
	agreement [16]byte
	pool      sync.Pool
}

const tagRequest = "bund/receipts/request/v1\x00"

func newRequestKey(key []byte, agreement [16]byte) *requestKey {
	k := &requestKey{agreement: agreement}
	k.pool.New = func() any { return hmac.New(sha256.New, key) }
	return k
}

// make gives the id of a request for so many units. The tag covers them when there is more than one: a leaf says how
// many were asked for, and nobody but the consumer can have said so.
func (k *requestKey) make(n Nonce, request Digest, units int64) (r RequestID) {
	m := k.pool.Get().(hash.Hash)
	m.Reset()
	var b [len(tagRequest) + 16 + 16 + 32 + 8]byte
	copy(b[:], tagRequest)
	copy(b[len(tagRequest):], k.agreement[:])
	copy(b[len(tagRequest)+16:], n[:])
	copy(b[len(tagRequest)+32:], request[:])
	used := b[:len(b)-8]
	if units != 1 {
		binary.BigEndian.PutUint64(b[len(b)-8:], uint64(units))
		used = b[:]
	}
	m.Write(used)
	var sum [32]byte
	m.Sum(sum[:0])
	k.pool.Put(m)
	copy(r[:16], n[:])
	copy(r[16:], sum[:16])
	return r
}

func (k *requestKey) mine(l *Leaf) bool {
	want := k.make(l.Request.Nonce(), l.RequestDigest, l.Asked())
	return subtle.ConstantTimeCompare(want[:], l.Request[:]) == 1
}

// idIndex remembers where request ids are in the log, for one life at least and two at most: a request older than
// its life is refused by its time alone. It is rebuilt from recent leaves on restart.
type idIndex struct {
	young, old map[Nonce]place
	turned     contracts.Millis
	lifeMs     contracts.Millis
}

// place is a leaf's position; an epoch change doesn't free the ids of acknowledged leaves.
type place struct{ epoch, seq int64 }

func newIDIndex(lifeMs contracts.Millis) *idIndex {
	return &idIndex{young: map[Nonce]place{}, old: map[Nonce]place{}, lifeMs: lifeMs}
}

func (x *idIndex) get(n Nonce) (place, bool) {
	if p, ok := x.young[n]; ok {
		return p, true
	}
	p, ok := x.old[n]
	return p, ok
}

// put takes leaf times, which never fall.
func (x *idIndex) put(n Nonce, p place, at contracts.Millis) {
	if at-x.turned > x.lifeMs {
		x.old, x.young, x.turned = x.young, map[Nonce]place{}, at
	}
	x.young[n] = p
}

// forget drops the ids from seq on: an epoch ended and what it had not acknowledged was never billed.
func (x *idIndex) forget(epoch, seq int64) {
	for _, m := range []map[Nonce]place{x.young, x.old} {
		for n, p := range m {
			if p.epoch == epoch && p.seq >= seq {
				delete(m, n)
			}
		}
	}
}
