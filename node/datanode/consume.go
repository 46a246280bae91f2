package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/node/meter"
	"github.com/bund-exchange/bund/node/peer"
)

// consumer is one agreement that this node uses data under.
type consumer struct {
	id       contracts.ID
	server   party
	link     *peer.Link
	receipts *meter.Consumer
	schedule atomic.Pointer[meter.Schedule]
	print    print

	stop context.CancelFunc // nil while nothing runs
	done chan struct{}
}

// requestTimeout bounds one request to a provider's node.
const requestTimeout = time.Minute

// tendConsumer opens the agreement's receipts, keeps their terms, and acknowledges until all that was used is.
func (n *Node) tendConsumer(ctx context.Context, d *deal) error {
	server := d.server()
	c, p := n.consumer(d.id), d.seenFrom(server)
	if c == nil || c.print != p {
		schedule, terms, err := n.schedule(ctx, d, server)
		if err != nil {
			return err
		}
		switch {
		case c != nil && c.server == server:
			c.schedule.Store(&schedule)
			n.amended(ctx, d, c.receipts.Amend(terms))
			c.receipts.Wake() // a CLOSE that waited for the ledger may be taken now
		default:
			if c != nil { // another node serves now
				c.end()
			}
			if c, err = n.openConsumer(d, server, &schedule); err != nil {
				return err
			}
			n.mu.Lock()
			n.consumers[d.id] = c
			n.mu.Unlock()
		}
		c.print = p
	}
	st := c.receipts.State()
	switch done := d.ended() && d.usage != nil && st.Acked >= d.usage.Size; {
	case done:
		c.end()
	case c.stop == nil:
		c.begin(n)
	}
	n.trouble("receipts of agreement "+string(d.id), c.objection())
	return nil
}

// objection says why this node signs no more, or "". A breach was logged when it was found; objections wait for the
// provider to take their leaves back.
func (c *consumer) objection() string {
	if b := c.receipts.Breach(); b != nil {
		return b.Error()
	}
	if os := c.receipts.Objections(); len(os) > 0 {
		return fmt.Sprintf("%d leaves are objected to, the first is %d: %s", len(os), os[0].Seq, os[0].What)
	}
	return ""
}

// amended judges the answer to terms that have changed. Price and keys change at a CLOSE or with an epoch, by the
// schedule; all else at once.
func (n *Node) amended(ctx context.Context, d *deal, err error) {
	if err != nil {
		n.log.InfoContext(ctx, "terms take effect behind the next CLOSE", "agreement", d.id, "why", err)
	}
}

func (n *Node) openConsumer(d *deal, server party, schedule *meter.Schedule) (*consumer, error) {
	c := &consumer{id: d.id, server: server}
	c.schedule.Store(schedule)
	var err error
	if c.link, err = n.pins.Link(server.node); err != nil {
		return nil, err
	}
	c.receipts, err = meter.OpenConsumer(meter.ConsumerConfig{
		Schedule: func(p int64) (meter.Terms, bool) { return (*c.schedule.Load())(p) }, Key: n.keys.Receipt, RequestKey: n.keys.Request[:], Journal: n.journal,
		Client: &http.Client{Transport: c.link, Timeout: requestTimeout}, URL: strings.TrimSuffix(server.url, "/") + "/agreements/" + string(d.id),
		Now: n.now, Log: n.log,
	})
	if err != nil {
		return nil, fmt.Errorf("couldn't open receipts of %s: %w", d.id, err)
	}
	return c, nil
}

// begin acknowledges and pulls until end.
func (c *consumer) begin(n *Node) {
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	c.stop, c.done = stop, done
	go func() {
		defer close(done)
		if err := c.receipts.Run(ctx); err != nil && ctx.Err() == nil {
			n.log.Error("receipts stopped", "agreement", c.id, "err", err)
		}
	}()
}

func (c *consumer) end() {
	if c.stop != nil {
		c.stop()
		<-c.done
		c.stop = nil
	}
	c.link.CloseIdleConnections()
}

// stopConsumers ends all. Only the tending goroutine begins and ends them.
func (n *Node) stopConsumers() {
	n.mu.Lock()
	all := make([]*consumer, 0, len(n.consumers))
	for _, c := range n.consumers {
		all = append(all, c)
	}
	n.mu.Unlock()
	for _, c := range all {
		c.end()
	}
}

func (n *Node) consumer(id contracts.ID) *consumer {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.consumers[id]
}
