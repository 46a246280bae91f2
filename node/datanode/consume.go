package main

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/node/meter"
)

// consumer is one agreement that this member uses data under.
type consumer struct {
	id       contracts.ID
	node     contracts.ID // of the provider
	receipts *meter.Consumer
	schedule atomic.Pointer[meter.Schedule]
	print    string
	stop     context.CancelFunc
	done     chan struct{}
}

// tendConsumer opens the agreement's receipts and keeps their terms. It goes on after the agreement's end, until what
// was used is acknowledged.
func (n *Node) tendConsumer(ctx context.Context, d *deal) error {
	n.mu.Lock()
	c := n.consumers[d.id]
	n.mu.Unlock()
	if c != nil && c.print == d.fingerprint() {
		c.receipts.Wake()
		return nil
	}
	if d.url == "" {
		return fmt.Errorf("agreement %s: the provider has no node in service", d.id)
	}
	schedule, terms, err := n.schedule(ctx, d, d.node)
	if err != nil {
		return err
	}
	if c != nil && c.node == d.node {
		c.schedule.Store(&schedule)
		if err := c.receipts.Amend(terms); err != nil {
			n.log.DebugContext(ctx, "terms wait for the next period", "agreement", d.id, "err", err)
		}
		c.print = d.fingerprint()
		c.receipts.Wake()
		return nil
	}
	if c != nil { // the provider serves from another node now
		c.stop()
		<-c.done
	}
	transport, err := n.pins.Transport(d.node)
	if err != nil {
		return err
	}
	c = &consumer{id: d.id, node: d.node, print: d.fingerprint(), done: make(chan struct{})}
	c.schedule.Store(&schedule)
	c.receipts, err = meter.OpenConsumer(meter.ConsumerConfig{
		Schedule: func(p int64) (meter.Terms, bool) { return (*c.schedule.Load())(p) }, Key: n.keys.Receipt, RequestKey: n.keys.Request[:], Journal: n.journal,
		Client: &http.Client{Transport: transport}, URL: d.url + "/agreements/" + string(d.id), Now: n.now, Log: n.log.With("agreement", d.id),
	})
	if err != nil {
		return fmt.Errorf("couldn't open receipts of %s: %w", d.id, err)
	}
	run, stop := context.WithCancel(context.Background())
	c.stop = stop
	go func() {
		defer close(c.done)
		if err := c.receipts.Run(run); err != nil && run.Err() == nil {
			n.log.Error("receipts stopped", "agreement", d.id, "err", err)
		}
	}()
	n.mu.Lock()
	n.consumers[d.id] = c
	n.mu.Unlock()
	return nil
}

// stopConsumers ends all and waits.
func (n *Node) stopConsumers() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range n.consumers {
		c.stop()
		<-c.done
	}
}

func (n *Node) consumer(id contracts.ID) *consumer {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.consumers[id]
}
