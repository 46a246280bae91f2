package sample

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/contractstest"
)

// stewardNode is what the consent service's node is called in the stack's folder.
const stewardNode = "steward"

// neutral registers the consent service's node, which starts with the others.
func (l *loader) neutral() error {
	f, err := l.AddNode(l.ctx, stewardNode, l.by[steward], true)
	if err != nil {
		return err
	}
	return l.WriteNode(l.ctx, f)
}

// lookups has the operator's node publish its two lookup tables, and the bank ask each of them once.
func (l *loader) lookups() error {
	service := l.by[steward].Node
	for _, t := range []struct {
		key    string
		cohort int64
		node   contracts.ID
	}{{"debtors", 30, ""}, {"tax-consent", 0, service}} {
		if err := l.table(l.shown.Private[t.key].Version, t.cohort, t.node); err != nil {
			return fmt.Errorf("couldn't publish the table of %s: %w", t.key, err)
		}
	}
	_, codes := taxRows()
	codes = codes[:20]
	ids, keys, err := Consents(l.ctx, l.Stack, l.shown.Private["tax-consent"].Product, service, codes, contractstest.Fields, 100)
	if err != nil {
		return err
	}
	var b strings.Builder
	for i, id := range ids {
		fmt.Fprintf(&b, "%s,%s,%s\n", codes[i], id, keys[i])
	}
	if err := l.Keep("lookup-consents.csv", b.String()); err != nil {
		return err
	}
	return errors.Join(l.look("debtors", map[string]any{"operation": "private_lookup", "subjects": codes[:4], "buckets": true}),
		l.look("tax-consent", map[string]any{"operation": "consent_lookup", "consents": []map[string]any{{"subject": codes[0], "consent": ids[0], "consentKey": keys[0]}}}))
}

// table begins a key epoch and waits until it is on the ledger.
func (l *loader) table(version contracts.ID, cohort int64, service contracts.ID) error {
	ask := func(method, path string, body, answer any) error {
		return Local(l.ctx, l.Stack, "provider", l.ProviderLocal, method, path, body, answer)
	}
	// The node may not have followed the product and its dataset yet.
	if err := l.again(func() error {
		return ask(http.MethodPost, "/v1/lookup-tables", map[string]any{"version": version, "cohort": cohort, "consentNode": service}, nil)
	}); err != nil {
		return err
	}
	return l.again(func() error {
		var s struct{ State string }
		err := ask(http.MethodGet, "/v1/lookup-tables/"+string(version), nil, &s)
		if err == nil && s.State != "committed" {
			err = errors.New("the table is " + s.State)
		}
		return err
	})
}

// look asks under the agreement on a product, as soon as all nodes have followed what it needs.
func (l *loader) look(key string, q map[string]any) error {
	q["agreement"], q["purpose"] = l.shown.Private[key].Agreement, "pre_loan"
	return l.again(func() error {
		return Local(l.ctx, l.Stack, "buyer", l.BuyerLocal, http.MethodPost, "/v1/lookups", q, nil)
	})
}

// again tries for a while: nodes follow the ledger in their own time.
func (l *loader) again(try func() error) error {
	ctx, cancel := context.WithTimeout(l.ctx, 45*time.Second)
	defer cancel()
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(200 * time.Millisecond):
		}
	}
}
