package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
	"github.com/bund-exchange/bund/contracts/policy"
	"github.com/bund-exchange/bund/ledger/follow"
	"github.com/bund-exchange/bund/node/gate"
	"github.com/bund-exchange/bund/node/meter"
	"github.com/bund-exchange/bund/privacy/consent"
	"github.com/bund-exchange/bund/privacy/lookup"
)

// localLookup is what a bank's own systems ask. The companies go no further than this node, but for a consent_lookup to
// the consent service.
type localLookup struct {
	Agreement contracts.ID           `json:"agreement"`
	Operation policy.Operation       `json:"operation"` // private_lookup or consent_lookup
	Purpose   policy.Purpose         `json:"purpose"`
	Fields    []string               `json:"fields"`   // all that the product has, or absent
	Subjects  []contracts.CreditCode `json:"subjects"` // private_lookup
	Consents  []localHeldConsent     `json:"consents"` // consent_lookup: each company's
	Buckets   bool                   `json:"buckets"`  // fetch buckets of the stated cohort instead of the whole table
	Nonce     string                 `json:"nonce"`    // as of a call
}

type localHeldConsent struct {
	Subject    contracts.CreditCode `json:"subject"`
	Consent    contracts.ID         `json:"consent"`
	ConsentKey string               `json:"consentKey"` // 64 hex digits
}

// check gives the ids that are asked about, and how the bank holds their consents.
func (q *localLookup) check() (ids [][]byte, held []consent.Held, err error) {
	consented := q.Operation == policy.ConsentLookup
	switch {
	case q.Operation != policy.PrivateLookup && !consented:
		return nil, nil, errors.New("operation is private_lookup or consent_lookup")
	case (len(q.Subjects) != 0) == consented || (len(q.Consents) != 0) != consented:
		return nil, nil, errors.New("a private_lookup names subjects, a consent_lookup consents")
	case len(q.Subjects) > lookup.MaxIDs || len(q.Consents) > consent.MaxClaims:
		return nil, nil, fmt.Errorf("one request is about %d companies at most, %d with consents", lookup.MaxIDs, consent.MaxClaims)
	}
	seen := map[contracts.CreditCode]bool{}
	add := func(i int, code contracts.CreditCode) error {
		if err := code.Check(); err != nil {
			return fmt.Errorf("company %d: %w", i, err)
		}
		if seen[code] {
			return fmt.Errorf("company %d is there twice", i)
		}
		seen[code] = true
		ids = append(ids, []byte(code))
		return nil
	}
	for i, c := range q.Subjects {
		if err := add(i, c); err != nil {
			return nil, nil, err
		}
	}
	for i, c := range q.Consents {
		key, bad := hex.DecodeString(c.ConsentKey)
		if bad != nil || len(key) != 32 || c.Consent.Check() != nil {
			return nil, nil, fmt.Errorf("company %d: want a consent and its key of 64 hex digits", i)
		}
		if err := add(i, c.Subject); err != nil {
			return nil, nil, err
		}
		held = append(held, consent.Held{Consent: c.Consent, Key: [32]byte(key)})
	}
	return ids, held, nil
}

// lookupUse is an agreement with the table that it asks.
type lookupUse struct {
	commitment *lookup.Commitment
	product    lookupProduct
	version    contracts.ID
}

func (l *lookups) using(agreement contracts.ID) (*consumer, *lookupUse, error) {
	if err := agreement.Check(); err != nil {
		return nil, nil, &contracts.Refusal{Code: "agreement.unknown", Detail: "this is no agreement's id"}
	}
	c := l.n.consumer(agreement)
	var g *contracts.Grant
	l.n.follower.View(func(v follow.View) { g = read[contracts.Grant](v, contracts.KeyGrant(agreement)) })
	if c == nil || g == nil {
		return nil, nil, &contracts.Refusal{Code: "agreement.unknown", Detail: "this node uses no agreement with this id, or has not followed it yet"}
	}
	p, err := l.product(g.Version)
	if err != nil {
		return nil, nil, err
	}
	k, err := p.committed(g.Version)
	if err != nil {
		return nil, nil, err
	}
	return c, &lookupUse{k, p, g.Version}, nil
}

// askedLookup is what a bank keeps of a question before it is asked, so that the answer, which is paid for, can be opened
// whatever happens. Asked again with the nonce, it is the same question.
type askedLookup struct {
	Agreement  contracts.ID      `json:"agreement"`
	Commitment lookup.Commitment `json:"commitment"`
	Fields     []string          `json:"fields"`
	Operation  policy.Operation  `json:"operation"`
	Purpose    policy.Purpose    `json:"purpose"`
	Ticket     []byte            `json:"ticket,omitempty"`
}

// question is it with what blinds it.
type question struct {
	askedLookup
	query *lookup.Query
}

func (l *lookups) askedName(nonce meter.Nonce) string {
	return filepath.Join(l.dir, "asked", hex.EncodeToString(nonce[:]))
}

// askedLife is how long a question is kept: its answer can be asked for again for ten minutes.
const askedLife = 24 * time.Hour

func (l *lookups) forgetAsked() error {
	files, err := os.ReadDir(filepath.Join(l.dir, "asked"))
	if err != nil {
		return err
	}
	for _, f := range files {
		var ms int64
		if _, err := fmt.Sscanf(f.Name()[:min(12, len(f.Name()))], "%x", &ms); err == nil && l.n.now().Sub(time.UnixMilli(ms)) < askedLife {
			continue
		}
		if err := os.Remove(filepath.Join(l.dir, "asked", f.Name())); err != nil {
			return fmt.Errorf("couldn't forget a question: %w", err)
		}
	}
	return nil
}

func (l *lookups) keepAsked(nonce meter.Nonce, a *question) error {
	b, err := json.Marshal([][]byte{canon.Marshal(a.askedLookup), a.query.Bytes()})
	if err != nil {
		return err
	}
	return l.box.write(l.askedName(nonce), b)
}

func (l *lookups) readAsked(nonce meter.Nonce) (*question, error) {
	b, err := l.box.read(l.askedName(nonce))
	if err != nil {
		return nil, err
	}
	var parts [][]byte
	a := new(question)
	if err := json.Unmarshal(b, &parts); err != nil || len(parts) != 2 {
		return nil, errors.New("couldn't read a kept question")
	}
	if err := canon.Unmarshal(parts[0], &a.askedLookup); err != nil {
		return nil, fmt.Errorf("couldn't read a kept question: %w", err)
	}
	a.query, err = lookup.ParseQuery(parts[1], &a.Commitment)
	return a, err
}

// request is the metered call of a question.
func (a *question) request() (gate.Request, error) {
	payload := a.query.Request().Bytes()
	if a.Operation == policy.ConsentLookup {
		t, err := consent.ParseTicket(a.Ticket)
		if err != nil {
			return gate.Request{}, err
		}
		payload = consent.Present(t, a.query.Request())
	}
	return gate.Request{Epoch: a.Commitment.Epoch, Fields: a.Fields, Operation: a.Operation, Payload: payload, Purpose: a.Purpose, Units: int64(a.query.Len())}, nil
}

// same reports whether the kept question is the one that is asked now.
func (a *question) same(q *localLookup, ids [][]byte) bool {
	if a.Agreement != q.Agreement || a.Operation != q.Operation || a.Purpose != q.Purpose || a.query.Len() != len(ids) {
		return false
	}
	for i := range ids {
		if id, _, _ := a.query.Secret(i); string(id) != string(ids[i]) {
			return false
		}
	}
	return true
}

type lookedUp struct {
	Subject contracts.CreditCode `json:"subject"`
	Outcome string               `json:"outcome"`
	AsOf    contracts.Millis     `json:"asOf,omitempty"`
	KnownAt contracts.Millis     `json:"knownAt,omitempty"`
	Values  map[string]string    `json:"values,omitempty"`
}

func (l *lookups) localAsk(w http.ResponseWriter, r *http.Request) {
	var q localLookup
	if !decode(w, r, &q) {
		return
	}
	ids, held, err := q.check()
	if err == nil {
		err = q.Purpose.Check()
	}
	if err != nil {
		malformed(w, err.Error())
		return
	}
	nonce, ok := l.n.nonce(w, q.Nonce)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), l.n.patience)
	defer cancel()
	out, err := l.ask(ctx, &q, nonce, ids, held)
	if err != nil {
		l.n.localError(w, r, err, extra{"nonce": hex.EncodeToString(nonce[:])})
		return
	}
	out["nonce"] = hex.EncodeToString(nonce[:])
	answer(w, out)
}

// ask goes the whole way. What could be refused without paying is tried before the call.
func (l *lookups) ask(ctx context.Context, q *localLookup, nonce meter.Nonce, ids [][]byte, held []consent.Held) (map[string]any, error) {
	c, use, err := l.using(q.Agreement)
	if err != nil {
		return nil, err
	}
	if q.Fields != nil && !use.product.sameFields(q.Fields) {
		return nil, &contracts.Refusal{Code: "lookup.fields", Detail: lookupFieldsDetail}
	}
	a, err := l.readAsked(nonce)
	switch {
	case errors.Is(err, os.ErrNotExist):
		if a, err = l.newAsked(ctx, q, nonce, use, ids, held, c); err != nil {
			return nil, err
		}
	case err != nil:
		return nil, err
	case !a.same(q, ids):
		return nil, &contracts.Refusal{Code: meter.IDReused, Detail: "the nonce was used for another request"}
	}
	req, err := a.request()
	if err != nil {
		return nil, err
	}
	u, err := l.n.use(ctx, q.Agreement, nonce, req)
	if err != nil {
		return nil, err
	}
	if u.Outcome != meter.Found.String() {
		return nil, fmt.Errorf("the provider's node answers %s", u.Outcome)
	}
	e, err := a.query.Finalize(ctx, u.Payload)
	if err != nil {
		return nil, err
	}
	answers, table, err := l.open(ctx, c, &a.Commitment, e, q.Buckets)
	if err != nil {
		return nil, err
	}
	rows, err := readRows(answers)
	if err != nil {
		return nil, err
	}
	return map[string]any{"answers": rows, "billed": u.leaf.Units, "epoch": a.Commitment.Epoch, "table": table, "snapshot": a.Commitment.Dataset, "receipt": u.receipt(),
		"learnt": learntOf(q, len(ids), table)}, nil
}

// newAsked makes a question, gets its ticket where one is needed, and keeps both. The table is here before: what isn't
// the committed one is not paid for.
func (l *lookups) newAsked(ctx context.Context, q *localLookup, nonce meter.Nonce, use *lookupUse, ids [][]byte, held []consent.Held, c *consumer) (*question, error) {
	if q.Buckets && use.commitment.Cohort == 0 {
		return nil, &contracts.Refusal{Code: "lookup.no_buckets", Detail: "this table is given as a whole only"}
	}
	if !q.Buckets {
		if _, err := l.whole(ctx, c, use.commitment); err != nil {
			return nil, err
		}
	}
	a := &question{askedLookup: askedLookup{Agreement: q.Agreement, Commitment: *use.commitment, Fields: use.product.fields(), Operation: q.Operation, Purpose: q.Purpose}}
	var err error
	if a.query, err = lookup.NewQuery(use.commitment, ids); err != nil {
		return nil, err
	}
	if q.Operation == policy.ConsentLookup {
		if a.Ticket, err = l.ticket(ctx, a, use, held); err != nil {
			return nil, err
		}
	}
	return a, l.keepAsked(nonce, a)
}

// openedFrom says where the rows were opened from.
type openedFrom struct {
	Rows    int64  `json:"rows"`
	Cohort  int64  `json:"cohort,omitempty"`  // records in a bucket at least
	Buckets int    `json:"buckets,omitempty"` // that were fetched
	Whole   bool   `json:"whole"`
	Size    int64  `json:"size,omitempty"` // bytes of the whole table
	Suite   string `json:"suite"`
}

func (l *lookups) open(ctx context.Context, c *consumer, k *lookup.Commitment, e *lookup.Evaluated, byBucket bool) ([]lookup.Answer, openedFrom, error) {
	from := openedFrom{Rows: k.Rows, Cohort: k.Cohort, Whole: !byBucket, Suite: k.Suite}
	if !byBucket {
		t, err := l.whole(ctx, c, k)
		if err != nil {
			return nil, from, err
		}
		from.Size = t.Size()
		as, err := e.Open(t.Head(), t)
		return as, from, err
	}
	h, err := l.head(ctx, c, k)
	if err != nil {
		return nil, from, err
	}
	bs, err := l.buckets(ctx, c, k, e.Buckets(h))
	if err != nil {
		return nil, from, err
	}
	from.Buckets = len(bs)
	as, err := e.Open(h, bs)
	return as, from, err
}

func readRows(answers []lookup.Answer) ([]lookedUp, error) {
	out := make([]lookedUp, len(answers))
	for i, a := range answers {
		out[i] = lookedUp{Subject: contracts.CreditCode(a.ID), Outcome: meter.NotFound.String()}
		if !a.Found {
			continue
		}
		var row tableRow
		if err := canon.Unmarshal(a.Value, &row); err != nil {
			return nil, &contracts.Refusal{Code: lookup.BadRecord, Detail: "a row of the committed table is not in its one form"}
		}
		out[i].Outcome, out[i].AsOf, out[i].KnownAt, out[i].Values = meter.Found.String(), row.AsOf, row.KnownAt, row.Values
	}
	return out, nil
}

// learntOf says what each party learnt just now.
func learntOf(q *localLookup, n int, from openedFrom) map[string]string {
	provider := fmt.Sprintf("本行以目的 %s 查询 %d 家，不知是谁 · that you asked about %d companies for %s, never which", q.Purpose, n, n, q.Purpose)
	if !from.Whole {
		provider += fmt.Sprintf("；取了 %d 个分桶，每桶至少 %d 家 · and that %d buckets were fetched, of %d companies each at least", from.Buckets, from.Cohort, from.Buckets, from.Cohort)
	}
	m := map[string]string{"you": fmt.Sprintf("%d 家各自的行，及表的行数 %d · the rows of %d companies, and that the table has %d", n, from.Rows, n, from.Rows), "provider": provider,
		"market": "用量合计 · totals of use"}
	if q.Operation == policy.ConsentLookup {
		m["service"] = fmt.Sprintf("本行、%d 家企业、时间与目的 · you, the %d companies, time and purpose", n, n)
	}
	return m
}
