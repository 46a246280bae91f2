package meter

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sort"
	"sync"
	"time"

	"github.com/transparency-dev/merkle/compact"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/verifying"
)

// ConsumerConfig is what a consumer node gives the receipts of one agreement at one provider node.
type ConsumerConfig struct {
	Schedule   Schedule
	Key        ed25519.PrivateKey // receipt key
	RequestKey []byte             // at least 32 bytes; marks request ids. Whoever has it can invent use
	Journal    *Journal
	Client     *http.Client // speaks TLS with the provider's node; who that is, is the node's business
	URL        string       // of the agreement's path there, without a slash at the end

	Idle        time.Duration // acknowledge and pull at least so often; 0 is 1 s
	OnGap       time.Duration // pull when a place has been missing for so long; 0 is 50 ms
	KeepAnswers time.Duration // after their acknowledgement; 0 is 24 h, never less than a request id lives
	Now         func() time.Time
	Log         *slog.Logger

	faults faults
}

// Consumer checks and acknowledges the receipts of one agreement at one provider node.
type Consumer struct {
	cfg       ConsumerConfig
	agreement [16]byte
	requests  *requestKey
	wire      *wire
	verifier  *verifying.Verifier // of heads: one key signs all of them

	ackMu  sync.Mutex // one acknowledger
	headMu sync.Mutex // the callers of one group arrive together: one of them verifies its head

	mu     sync.Mutex
	rules  Terms     // in force for the next leaf
	state  *logState // what is durable and signed; replaced, never changed
	sealer *sealer   // of this epoch

	// The contiguous prefix: pend are its leaves past the acknowledged ones, in memory only.
	pend     []*held
	rng      *compact.Range
	size     int64
	totals   contracts.Totals
	lastTime contracts.Millis
	fence    int64
	marks    marks
	ids      *idIndex

	buf        map[int64]*held  // leaves past the prefix, in any order
	gapSince   time.Time        // since when a place before them is missing
	waiting    int64            // number of a CLOSE that this node hasn't followed yet, or 0
	heads      map[int64][]byte // verified heads past the acknowledged size
	objections map[int64]Objection
	breach     *Breach

	urgent    bool          // an acknowledgement was asked for
	confirmed int64         // size that the provider has confirmed
	kick      chan struct{} // holds a token when an acknowledgement is due
	ackd      chan struct{} // closed and replaced with each confirmed acknowledgement
}

// held is a leaf in hand. Once it is in the prefix it isn't changed.
type held struct {
	leaf   Leaf
	raw    []byte
	hash   []byte // of raw, from when it is in the prefix
	answer []byte
	have   bool // the answer is here; a CLOSE or VOID has none
	asked  bool // it came as the answer to a request made here, so its id is known to be ours
}

// OpenConsumer resumes from the journal. What came after the last acknowledgement is pulled again by Run.
func OpenConsumer(cfg ConsumerConfig) (*Consumer, error) {
	c, err := openConsumer(cfg)
	if err != nil {
		return nil, fmt.Errorf("couldn't open receipts of a consumer: %w", err)
	}
	return c, nil
}

func openConsumer(cfg ConsumerConfig) (*Consumer, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Idle <= 0 {
		cfg.Idle = time.Second
	}
	if cfg.OnGap <= 0 {
		cfg.OnGap = 50 * time.Millisecond
	}
	if cfg.KeepAnswers <= 0 {
		cfg.KeepAnswers = 24 * time.Hour
	}
	if len(cfg.RequestKey) < 32 {
		return nil, errors.New("want a request key of at least 32 bytes")
	}
	if len(cfg.Key) != ed25519.PrivateKeySize {
		return nil, errors.New("want an ed25519 receipt key")
	}
	first, err := cfg.Schedule.at(0)
	if err != nil {
		return nil, err
	}
	id := first.Agreement.Bytes()
	w, err := newWire(cfg.Client, cfg.URL)
	if err != nil {
		return nil, err
	}
	c := &Consumer{cfg: cfg, agreement: id, requests: newRequestKey(cfg.RequestKey, id), wire: w, verifier: verifying.New(1), kick: make(chan struct{}, 1), ackd: make(chan struct{})}
	st, breach, err := cfg.Journal.load(id)
	if err != nil {
		return nil, err
	}
	if err := c.enter(st); err != nil {
		return nil, err
	}
	c.breach = breach
	return c, nil
}

// enter stands the prefix at a durable state. It is used on opening and when an epoch begins.
func (c *Consumer) enter(st *logState) error {
	rules, err := c.cfg.Schedule.at(st.lastClose)
	if err != nil {
		return err
	}
	if rules.Consumer != contracts.Ed25519Key(c.cfg.Key.Public().(ed25519.PublicKey)) || rules.Agreement.Bytes() != c.agreement {
		return errors.New("terms name another consumer key or agreement")
	}
	var last Leaf
	if st.ack != nil {
		raw, err := c.cfg.Journal.leaf(c.agreement, st.epoch, st.ack.Size-1)
		if err != nil {
			return err
		}
		if last, err = DecodeLeaf(raw); err != nil {
			return err
		}
		if rootOf(st.rng) != st.ack.Root || last.Totals != st.ack.Totals || !st.ack.Verify(contracts.TagAck, rules.Consumer) {
			return errors.New("the last acknowledgement isn't that of the journal's leaves")
		}
	}
	seal, err := newSealer(c.cfg.Journal.sealKey, "consumer", c.agreement, st.epoch)
	if err != nil {
		return err
	}
	// The same nonce may be billed a second time as late as its life and the clocks allow.
	ids := newIDIndex(2 * rules.idLife())
	recent, err := c.cfg.Journal.recent(c.agreement, contracts.Millis(c.cfg.Now().UnixMilli())-ids.lifeMs)
	if err != nil {
		return err
	}
	for i := range recent {
		if l := &recent[i]; l.Op == OpCall {
			ids.put(l.Request.Nonce(), place{l.Epoch, l.Seq}, l.Time)
		}
	}
	c.rules, c.state, c.sealer, c.ids = rules, st, seal, ids
	c.pend, c.rng, c.size, c.totals = nil, cloneRange(st.rng), st.ackedSize(), st.ackedTotals()
	c.lastTime, c.fence, c.marks = last.Time, last.Fence, marks{}
	c.buf, c.gapSince, c.waiting = map[int64]*held{}, time.Time{}, 0
	c.heads, c.objections, c.breach, c.confirmed = map[int64][]byte{}, map[int64]Objection{}, nil, 0
	return nil
}

// ConsumerState is where a consumer stands.
type ConsumerState struct {
	Epoch     int64
	Size      int64 // of the contiguous prefix that was checked
	Acked     int64 // signed and durable here
	Confirmed int64 // and confirmed by the provider
	Totals    contracts.Totals
	Waiting   int64 // number of a CLOSE leaf that this node hasn't followed yet, or 0
}

// State gives where the consumer stands.
func (c *Consumer) State() ConsumerState {
	c.mu.Lock()
	defer c.mu.Unlock()
	return ConsumerState{Epoch: c.state.epoch, Size: c.size, Acked: c.state.ackedSize(), Confirmed: c.confirmed, Totals: c.totals, Waiting: c.waiting}
}

// Breach gives what stopped this log, or nil.
func (c *Consumer) Breach() *Breach {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.breach
}

// Objections gives the leaves that wait for a VOID, by place.
func (c *Consumer) Objections() []Objection {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []Objection
	for _, o := range c.objections {
		all = append(all, o)
	}
	sort.Slice(all, func(i, j int) bool { return all[i].Seq < all[j].Seq })
	return all
}

// Acknowledged gives the last acknowledgement of this epoch, or nil.
func (c *Consumer) Acknowledged() *Signed {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state.ack
}

// Leaf gives an encoded leaf of this epoch's prefix.
func (c *Consumer) Leaf(seq int64) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.leafLocked(seq)
}

func (c *Consumer) leafLocked(seq int64) ([]byte, error) {
	acked := c.state.ackedSize()
	if seq >= acked && seq < c.size {
		return c.pend[seq-acked].raw, nil
	}
	return c.cfg.Journal.leaf(c.agreement, c.state.epoch, seq)
}

// Evidence shows leaf seq of this epoch against a statement that was signed about it.
func (c *Consumer) Evidence(seq int64, against Signed, tag string) (*Evidence, error) {
	if c.State().Epoch != against.Epoch {
		return nil, errors.New("couldn't prove leaf: statement of another epoch")
	}
	return evidence(seq, against, tag, c.Leaf)
}

// Amend takes terms that differ in funds, window or quota only.
func (c *Consumer) Amend(t Terms) error {
	if err := t.Check(); err != nil {
		return fmt.Errorf("couldn't amend receipts: terms: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.rules.fundsOnly(&t) {
		return errors.New("couldn't amend receipts: price, keys or times differ")
	}
	c.rules = t
	return nil
}

// NextEpoch follows the provider into a new log, after a breach was settled between the parties. It begins from the
// last acknowledgement that the provider has: one that didn't reach it before is void, to the provider's loss. It is
// asked with the epoch to be in, so that asking twice does no harm.
func (c *Consumer) NextEpoch(ctx context.Context, epoch int64) error {
	c.ackMu.Lock()
	defer c.ackMu.Unlock()
	c.mu.Lock()
	st, rules := c.state, c.rules
	c.mu.Unlock()
	switch {
	case epoch == st.epoch:
		return nil
	case epoch != st.epoch+1:
		return errors.New("couldn't begin epoch: epochs follow one another")
	}
	from, err := c.wire.final(ctx, st.epoch)
	if err != nil {
		return fmt.Errorf("couldn't begin epoch: %w", err)
	}
	if from != nil && (from.Agreement != rules.Agreement || from.Epoch != st.epoch || from.Size > st.ackedSize() || !from.Verify(contracts.TagAck, rules.Consumer)) {
		return errors.New("couldn't begin epoch: the provider's last acknowledgement isn't one of this node's")
	}
	next := st.next(from)
	if _, err := c.cfg.Schedule.at(next.lastClose); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.cfg.Journal.nextEpoch(next, st.epoch, c.pend); err != nil {
		return err
	}
	return c.enter(next)
}
