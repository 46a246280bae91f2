package contracts

import (
	"errors"
	"net/url"

	"github.com/bund-exchange/bund/contracts/policy"
)

// Node is a member's data node, its own or one hosted by another member. Position of its registration is the fencing
// token of every receipt log that it writes; the follower takes it from the entry.
type Node struct {
	Member     ID            `json:"member"`
	Host       ID            `json:"host,omitempty"` // the member that runs it for Member
	TLSKey     ID            `json:"tlsKey"`
	ReceiptKey ID            `json:"receiptKey"`
	URL        string        `json:"url,omitempty"` // where consumers reach it; a node that only consumes has none
	Region     policy.Region `json:"region"`        // place of processing, "CN-31"
	Since      Millis        `json:"since"`
	Retired    Millis        `json:"retired,omitempty"`
}

// KeyNode is where a node stands.
func KeyNode(id ID) string { return "node/" + string(id) }

// NodeRegister registers a node with keys that the member already has. Registering a standby in its place is a new
// registration, so that the old one is fenced.
type NodeRegister struct {
	Host       ID            `json:"host,omitempty"`
	TLSKey     ID            `json:"tlsKey"`
	ReceiptKey ID            `json:"receiptKey"`
	URL        string        `json:"url,omitempty"`
	Region     policy.Region `json:"region"`
}

// Check reports an address that no consumer could reach.
func (b NodeRegister) Check() error {
	if b.URL != "" {
		if u, err := url.Parse(b.URL); err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || len(b.URL) > 200 {
			return errors.New("url is https://host[:port][/path], without user or query")
		}
	}
	return nil
}

// NodeRetire ends a node: it may start no use any more.
type NodeRetire struct {
	Node ID `json:"node"`
}

var nodeKinds = []*spec{
	kind("node.register", applyNodeRegister, by("", DutyAdministrator), public),
	kind("node.retire", applyNodeRetire, by("", DutyAdministrator), public, suspended),
}

func applyNodeRegister(t *tx, b *NodeRegister) *Refusal {
	if b.Host != "" {
		if b.Host == t.me() {
			return refuse("node.host", "a host is another member").at("host")
		}
		if _, r := t.activeMember(b.Host); r != nil {
			return r.at("host")
		}
	}
	id := t.newID("node")
	var keys [2]*Key
	for i, want := range []struct {
		key     ID
		purpose Purpose
		field   string
	}{{b.TLSKey, PurposeTLS, "tlsKey"}, {b.ReceiptKey, PurposeReceipt, "receiptKey"}} {
		k, ok := get[Key](t, KeyKey(want.key))
		if !ok || k.Member != t.me() {
			return refuse("key.foreign", "this member has no such key").at(want.field)
		}
		if r := k.usable(want.purpose, t.env.Now); r != nil {
			return r.at(want.field)
		}
		if k.Node != "" {
			old, ok := get[Node](t, KeyNode(k.Node))
			if ok && old.Retired == 0 {
				return refuse("node.key", "another node uses this key").at(want.field)
			}
		}
		k.Node = id
		keys[i] = k
	}
	t.put(KeyKey(b.TLSKey), keys[0])
	t.put(KeyKey(b.ReceiptKey), keys[1])
	t.put(KeyNode(id), Node{Member: t.me(), Host: b.Host, TLSKey: b.TLSKey, ReceiptKey: b.ReceiptKey, URL: b.URL, Region: b.Region, Since: t.env.Now})
	t.event("node.registered", id)
	return nil
}

func applyNodeRetire(t *tx, b *NodeRetire) *Refusal {
	n, ok := get[Node](t, KeyNode(b.Node))
	if !ok || n.Member != t.me() {
		return refuse("node.unknown", "this member has no such node").at("node")
	}
	if n.Retired != 0 {
		return refuse("node.retired", "the node is retired").at("node")
	}
	n.Retired = t.env.Now
	t.put(KeyNode(b.Node), n)
	t.event("node.retired", b.Node)
	return nil
}

// servingNode gives a node of the member that is in service. Nobody changes what it gives.
func (t *tx) servingNode(id, member ID, field string) (*Node, *Refusal) {
	n, ok := peek[Node](t, KeyNode(id))
	if !ok || n.Member != member {
		return nil, refuse("node.unknown", "the member has no such node").at(field)
	}
	if n.Retired != 0 {
		return nil, refuse("node.retired", "the node is retired").at(field)
	}
	return n, nil
}
