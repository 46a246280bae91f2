package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
	"github.com/bund-exchange/bund/node/gate"
	"github.com/bund-exchange/bund/node/meter"
)

// used is what one metered call of this node brought.
type used struct {
	Body
	leaf  meter.Leaf
	raw   []byte // the leaf as the provider signed it into its log
	nonce meter.Nonce
}

// receipt is a used call's for this member's own systems.
func (u *used) receipt() localReceipt {
	return localReceipt{u.leaf.Seq, u.leaf.Epoch, u.leaf.Units, u.leaf.Outcome.String(), base64.StdEncoding.EncodeToString(u.raw)}
}

// use asks a provider's node once, under an agreement that this node uses. The same nonce and request get the same answer
// and are billed once. Its error is a *contracts.Refusal, a *meter.Refusal or *meter.Breach, or a failure.
func (n *Node) use(ctx context.Context, agreement contracts.ID, nonce meter.Nonce, req gate.Request) (*used, error) {
	c := n.consumer(agreement)
	if c == nil {
		return nil, &contracts.Refusal{Code: "agreement.unknown", Detail: "this node uses no agreement with this id, or has not followed it yet"}
	}
	if err := c.link.Standing(); err != nil {
		return nil, err
	}
	a, err := c.receipts.CallFor(ctx, nonce, req.Bytes(), req.Asked())
	if err != nil {
		return nil, err
	}
	u := &used{raw: a.Receipt.Leaf, nonce: nonce}
	if err := canon.Unmarshal(a.Body, &u.Body); err != nil {
		return nil, fmt.Errorf("couldn't read the provider's answer: %w", err)
	}
	if u.leaf, err = meter.DecodeLeaf(a.Receipt.Leaf); err != nil {
		return nil, err
	}
	return u, nil
}

// peerRefusal reads another node's no, or says that it failed.
func peerRefusal(resp *http.Response) error {
	b, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return err
	}
	var p problem
	if resp.StatusCode != http.StatusConflict || json.Unmarshal(b, &p) != nil || p.Code == "" {
		return fmt.Errorf("the other node answered %s", resp.Status)
	}
	return &contracts.Refusal{Code: contracts.Code(p.Code), Detail: p.Detail}
}
