package peer

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/bund-exchange/bund/contracts"
)

// Link carries requests to one node. Before each request it asks the ledger for the node's TLS key: a request, with a
// consent's key in it, never goes over a connection whose other side has lost that key's standing.
type Link struct {
	pins Pins
	node contracts.ID
	cert tls.Certificate

	mu  sync.Mutex
	key contracts.ID // pinned by transport
	to  *http.Transport
}

// Link makes a link to a node; it connects with the first request.
func (p Pins) Link(node contracts.ID) (*Link, error) {
	c, err := p.certificate()
	if err != nil {
		return nil, err
	}
	return &Link{pins: p, node: node, cert: c}, nil
}

// RoundTrip implements http.RoundTripper. Its error wraps ErrUnknown or ErrAnother when the peer is refused; then
// nothing of the request was sent.
func (l *Link) RoundTrip(r *http.Request) (*http.Response, error) {
	t, err := l.transport()
	if err != nil {
		if r.Body != nil {
			r.Body.Close()
		}
		return nil, err
	}
	return t.RoundTrip(r)
}

// transport gives the one whose connections all have the node's present key at their other end.
func (l *Link) transport() (*http.Transport, error) {
	var key contracts.ID
	err := l.pins.Read(func(st contracts.State) error {
		n, err := inService(st, l.node, l.pins.now())
		if err == nil && key == "" {
			key = n.TLSKey
		}
		return err
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.drop()
		return nil, err
	}
	if l.to == nil || l.key != key {
		l.drop()
		l.key, l.to = key, newTransport(l.config(key))
	}
	return l.to, nil
}

func (l *Link) config(key contracts.ID) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{l.cert}, MinVersion: tls.VersionTLS13, ServerName: ServerName,
		InsecureSkipVerify: true, // no authority is asked: VerifyConnection pins the key instead
		VerifyConnection: func(cs tls.ConnectionState) error {
			id, err := l.pins.of(&cs)
			if err != nil {
				return err
			}
			have, err := KeyOf(cs.PeerCertificates[0])
			if err != nil {
				return err
			}
			if id.Node != l.node || have.ID() != key {
				return fmt.Errorf("%w: node %s", ErrAnother, id.Node)
			}
			return nil
		}}
}

func newTransport(c *tls.Config) *http.Transport {
	return &http.Transport{TLSClientConfig: c, MaxIdleConnsPerHost: 256, IdleConnTimeout: 90 * time.Second, TLSHandshakeTimeout: 10 * time.Second,
		ResponseHeaderTimeout: 60 * time.Second, DisableCompression: true}
}

// drop forgets the transport: idle connections close now, those in use when their answer has come.
func (l *Link) drop() {
	if l.to != nil {
		l.to.CloseIdleConnections()
	}
	l.to, l.key = nil, ""
}

// CloseIdleConnections lets http.Client close the link's connections.
func (l *Link) CloseIdleConnections() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.drop()
}

// Standing reports, as ErrUnknown, that the node has none now.
func (l *Link) Standing() error {
	_, err := l.transport()
	return err
}
