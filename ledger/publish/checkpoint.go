package publish

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	fnote "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"
)

// Checkpoint is the head of a published log: C2SP tlog-checkpoint without extension lines. An origin names one
// append-only log. After an accepted loss (contracts.LossAccept) it is another log, so the epoch stands in the origin line:
// "ledger#2". The log's key and its name stay.
type Checkpoint struct {
	Origin string // id of the ledger
	Epoch  uint64 // 0 until a loss was accepted
	Size   uint64 // leaves
	Root   [32]byte
}

// Line is the origin line.
func (c Checkpoint) Line() string {
	if c.Epoch == 0 {
		return c.Origin
	}
	return fmt.Sprintf("%s%s%d", c.Origin, epochMark, c.Epoch)
}

const epochMark = "#"

// parseOrigin reads an origin line. No ledger's id has an epoch mark.
func parseOrigin(line string) (id string, epoch uint64, err error) {
	id, text, marked := strings.Cut(line, epochMark)
	if !marked {
		return line, 0, nil
	}
	if epoch, err = parseDecimal(text); err != nil || epoch == 0 || id == "" {
		return "", 0, errors.New("checkpoint: epoch of the origin is malformed")
	}
	return id, epoch, nil
}

// Before reports whether c is older than o: of an earlier epoch, or smaller.
func (c Checkpoint) Before(o Checkpoint) bool {
	return c.Epoch < o.Epoch || c.Epoch == o.Epoch && c.Size < o.Size
}

// Text is what is signed.
func (c Checkpoint) Text() string {
	return fmt.Sprintf("%s\n%d\n%s\n", c.Line(), c.Size, base64.StdEncoding.EncodeToString(c.Root[:]))
}

// ParseCheckpointText accepts exactly what Text writes.
func ParseCheckpointText(text string) (Checkpoint, error) {
	lines := strings.Split(text, "\n")
	if len(lines) != 4 || lines[0] == "" || lines[3] != "" {
		return Checkpoint{}, errors.New("checkpoint: want three lines: origin, size, root")
	}
	var c Checkpoint
	var err error
	if c.Origin, c.Epoch, err = parseOrigin(lines[0]); err != nil {
		return Checkpoint{}, err
	}
	if c.Size, err = parseDecimal(lines[1]); err != nil {
		return Checkpoint{}, fmt.Errorf("checkpoint: size: %w", err)
	}
	if c.Root, err = parseHash(lines[2]); err != nil {
		return Checkpoint{}, fmt.Errorf("checkpoint: root: %w", err)
	}
	if c.Size == 0 && c.Root != [32]byte(hasher.EmptyRoot()) {
		return Checkpoint{}, errors.New("checkpoint: root of size 0 is not the empty root")
	}
	return c, nil
}

// parseDecimal reads a number from 0 to 2^63-1 without sign, leading zeroes or spaces.
func parseDecimal(s string) (uint64, error) {
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil || strconv.FormatUint(n, 10) != s {
		return 0, errors.New("want a decimal number without leading zeroes")
	}
	return n, nil
}

// parseHash reads 32 bytes in the one base64 form that encodes them.
func parseHash(s string) (h [32]byte, err error) {
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || len(b) != 32 || base64.StdEncoding.EncodeToString(b) != s {
		return h, errors.New("want 32 bytes in base64")
	}
	return [32]byte(b), nil
}

// maxCheckpointBytes bounds a signed checkpoint; a hundred signatures fit.
const maxCheckpointBytes = 64 << 10

// Policy says whose signatures make a checkpoint count.
type Policy struct {
	Log       note.Verifier   // its name is the origin
	Witnesses []note.Verifier // cosignature/v1
	Quorum    int             // witnesses that must have seen a checkpoint for it to count as fresh
}

// NewPolicy reads keys in their textual form (name+hash+base64). Witness names must differ from each other and from
// the log's: one holder never counts twice.
func NewPolicy(logKey string, witnessKeys []string, quorum int) (Policy, error) {
	v, err := note.NewVerifier(logKey)
	if err != nil {
		return Policy{}, fmt.Errorf("couldn't read the log key: %w", err)
	}
	if strings.Contains(v.Name(), epochMark) {
		return Policy{}, fmt.Errorf("the log key's name, the ledger's id, has a %q", epochMark)
	}
	public, err := publicKey(logKey)
	if err != nil {
		return Policy{}, fmt.Errorf("couldn't read the log key: %w", err)
	}
	p := Policy{Log: v, Quorum: quorum}
	seen := map[string]bool{v.Name(): true, public: true} // a name is never 32 bytes that are a key
	for i, k := range witnessKeys {
		w, err := fnote.NewVerifierForCosignatureV1(k)
		if err == nil {
			public, err = publicKey(k)
		}
		if err != nil {
			return Policy{}, fmt.Errorf("couldn't read witness key %d: %w", i+1, err)
		}
		if seen[w.Name()] || seen[public] {
			return Policy{}, fmt.Errorf("witness key %d: name or key is there twice", i+1)
		}
		seen[w.Name()], seen[public] = true, true
		p.Witnesses = append(p.Witnesses, w)
	}
	if quorum < 0 || quorum > len(witnessKeys) {
		return Policy{}, fmt.Errorf("quorum %d of %d witnesses", quorum, len(witnessKeys))
	}
	return p, nil
}

// publicKey reads name+hash+base64(algorithm ‖ key) strictly, which the libraries don't: ed25519 only, the hash fits, one
// spelling. It gives the 32 bytes, the same for a note key and the cosignature key of one seed.
func publicKey(vkey string) (string, error) {
	name, rest, _ := strings.Cut(vkey, "+")
	hash, text, _ := strings.Cut(rest, "+")
	b, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil || base64.StdEncoding.EncodeToString(b) != text || len(b) != 33 || b[0] != algEd25519 && b[0] != algCosignature {
		return "", errors.New("want an ed25519 key in base64")
	}
	sum := sha256.Sum256(append([]byte(name+"\n"), b...))
	if fmt.Sprintf("%x", sum[:4]) != hash {
		return "", errors.New("name, hash and key don't fit")
	}
	return string(b[1:]), nil
}

// Algorithms of note keys: C2SP signed-note and tlog-cosignature.
const (
	algEd25519     = 1
	algCosignature = 4
)

// Cosignature is a witness's verified word that it saw the checkpoint extend what it saw before.
type Cosignature struct {
	Witness string
	At      time.Time // by the witness's clock, whole seconds
}

// Head is a checkpoint with verified signatures.
type Head struct {
	Checkpoint
	Signed       []byte // as received, with all signatures
	Cosignatures []Cosignature
	Unknown      int // signatures of keys outside the policy, not looked at. An auditor of a closed set of files wants none

	sigs []note.Signature // verified ones, the log's first
}

// Open verifies a signed checkpoint: the log's signature must be there, a known key's signature must verify, unknown
// ones are ignored.
func (p Policy) Open(signed []byte) (Head, error) {
	if len(signed) > maxCheckpointBytes {
		return Head{}, fmt.Errorf("checkpoint: %d bytes, limit %d", len(signed), maxCheckpointBytes)
	}
	n, err := note.Open(signed, note.VerifierList(append([]note.Verifier{p.Log}, p.Witnesses...)...))
	if err != nil {
		return Head{}, fmt.Errorf("couldn't verify the checkpoint: %w", err)
	}
	h := Head{Signed: signed}
	if h.Checkpoint, err = ParseCheckpointText(n.Text); err != nil {
		return Head{}, err
	}
	if h.Origin != p.Log.Name() {
		return Head{}, fmt.Errorf("checkpoint of %q, want %q", h.Origin, p.Log.Name())
	}
	for _, s := range slices.Concat(n.Sigs, n.UnverifiedSigs) {
		// The note library takes any spare bits at the end of base64; here one signature has one spelling.
		if b, err := base64.StdEncoding.Strict().DecodeString(s.Base64); err != nil || base64.StdEncoding.EncodeToString(b) != s.Base64 {
			return Head{}, fmt.Errorf("signature of %s is not in canonical base64", s.Name)
		}
	}
	h.Unknown = len(n.UnverifiedSigs)
	byLog := slices.IndexFunc(n.Sigs, func(s note.Signature) bool {
		return s.Name == p.Log.Name() && s.Hash == p.Log.KeyHash()
	})
	if byLog < 0 {
		return Head{}, errors.New("checkpoint isn't signed by the log")
	}
	h.sigs = []note.Signature{n.Sigs[byLog]}
	for i, s := range n.Sigs {
		if i == byLog {
			continue
		}
		at, err := fnote.CoSigV1Timestamp(s)
		if err != nil {
			return Head{}, fmt.Errorf("cosignature of %s: %w", s.Name, err)
		}
		h.sigs = append(h.sigs, s)
		h.Cosignatures = append(h.Cosignatures, Cosignature{Witness: s.Name, At: at})
	}
	return h, nil
}

// FreshAt is the newest time at which quorum witnesses had seen the checkpoint: the quorum-th newest cosignature.
// Times after notAfter are a broken or lying clock's and don't count. False when fewer than quorum are left.
func (h Head) FreshAt(quorum int, notAfter time.Time) (time.Time, bool) {
	var times []time.Time
	for _, c := range h.Cosignatures {
		if !c.At.After(notAfter) {
			times = append(times, c.At)
		}
	}
	if quorum < 1 || len(times) < quorum {
		return time.Time{}, false
	}
	slices.SortFunc(times, func(a, b time.Time) int { return b.Compare(a) })
	return times[quorum-1], true
}

// sign gives the checkpoint with the log's signature only.
func (c Checkpoint) sign(s note.Signer) ([]byte, error) {
	return note.Sign(&note.Note{Text: c.Text()}, s)
}
