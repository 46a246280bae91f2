package main

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/policy"
	"github.com/bund-exchange/bund/node/meter"
	"github.com/bund-exchange/bund/privacy/psi"
)

// Refusals of the local API about intersections.
const (
	noIntersection contracts.Code = "intersection.unknown"  // there is none with this id
	unfinished     contracts.Code = "intersection.underway" // it is not over
)

func (p *intersecting) local(m *http.ServeMux) {
	m.HandleFunc("POST /v1/intersections", p.localAsk)
	m.HandleFunc("GET /v1/intersections", p.localList)
	m.HandleFunc("GET /v1/intersections/{id}", p.localOne)
	m.HandleFunc("GET /v1/intersections/{id}/matches", p.localMatches)
	m.HandleFunc("DELETE /v1/intersections/{id}", p.localForget)
}

// localIntersection is what this member's systems are told.
type localIntersection struct {
	Intersection contracts.ID   `json:"intersection"`
	Agreement    contracts.ID   `json:"agreement"`
	Purpose      policy.Purpose `json:"purpose"`
	State        string         `json:"state"` // opening, running, waiting, done, refused
	Why          string         `json:"why,omitempty"`
	Code         contracts.Code `json:"code,omitempty"`
	Stage        psi.Stage      `json:"stage,omitempty"`
	Progress     uint64         `json:"progress"`
	Of           uint64         `json:"of"`
	IDs          int64          `json:"ids"`
	Announced    int64          `json:"announced"`
	Providers    int64          `json:"providers,omitempty"` // announced size of the provider's list
	Matches      *int64         `json:"matches,omitempty"`
	Nonce        string         `json:"nonce"`
	Receipt      *localReceipt  `json:"receipt,omitempty"`

	Learnt map[string]string `json:"learnt,omitempty"`
}

func (p *intersecting) view(a asked) (*localIntersection, error) {
	v := &localIntersection{Intersection: a.Session, Agreement: a.Agreement, Purpose: a.Purpose, Code: a.Code, IDs: a.IDs, Announced: a.size(), Nonce: a.nonceHex()}
	p.mu.Lock()
	g, why := p.progress[a.Session], p.waiting[a.Session]
	p.mu.Unlock()
	switch {
	case a.Done:
		v.State, v.Matches = "done", &a.Matches
	case a.Code != "":
		v.State = "refused"
	case why != "":
		v.State, v.Why = "waiting", why
	case a.Terms == nil:
		v.State = "opening"
	default:
		v.State, v.Stage, v.Progress, v.Of = "running", g.Stage, g.Done, g.Total
	}
	if a.Terms != nil {
		v.Providers = a.Terms.SenderMax
		leaf, err := meter.DecodeLeaf(a.Leaf)
		if err != nil {
			return nil, err
		}
		v.Receipt = &localReceipt{leaf.Seq, leaf.Epoch, leaf.Units, leaf.Outcome.String(), base64.StdEncoding.EncodeToString(a.Leaf)}
	}
	if a.Done {
		v.Learnt = map[string]string{
			"bank":     fmt.Sprintf("本名单 %d 家中哪 %d 家在供方名单中；供方名单规模（所报）%d · which %d of the %d on its list the provider has; the provider's list has %d, as announced", a.IDs, a.Matches, v.Providers, a.Matches, a.IDs, v.Providers),
			"provider": fmt.Sprintf("本行问了 %d 家（所报）；不知道是谁、有几家匹配 · that this bank asked about %d, as announced; not who they are, nor how many match", a.size(), a.size()),
		}
	}
	return v, nil
}

// localAsk takes a list, one credit code a line, as the request's body; agreement, purpose, padding and nonce are in its
// query. The list stays on this node.
func (p *intersecting) localAsk(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	for name := range q {
		if !slices.Contains([]string{"agreement", "purpose", "padding", "nonce"}, name) || len(q[name]) != 1 {
			malformed(w, "the query has agreement, purpose, padding and nonce, each once at most")
			return
		}
	}
	nonce, ok := p.n.nonce(w, q.Get("nonce"))
	if !ok {
		return
	}
	a := &asked{Agreement: contracts.ID(q.Get("agreement")), Purpose: policy.Purpose(q.Get("purpose")), Padding: q.Get("padding"), Nonce: nonce[:]}
	if a.Padding == "" {
		a.Padding = psi.Rounded.String()
	}
	_, err := psi.ParsePadding(a.Padding)
	if err = errors.Join(err, a.Agreement.Check()); err != nil {
		malformed(w, err.Error())
		return
	}
	a.Session = sessionOf(a.Agreement, nonce)
	if had, ok := p.askedFor(a.Session); ok { // asked again, under the same nonce
		p.answerView(w, r, had)
		return
	}
	if err := os.Mkdir(p.folder(a.Session), 0o700); err != nil { // another request under this nonce is at it
		p.n.localError(w, r, fmt.Errorf("couldn't keep a list: %w", err))
		return
	}
	if err := p.takeList(w, r, a); err != nil {
		p.discard(a.Session)
		var bad *badList
		if errors.As(err, &bad) {
			malformed(w, bad.Error())
		} else {
			p.n.localError(w, r, err)
		}
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), p.n.patience)
	defer cancel()
	switch err := p.open(ctx, a.Session); {
	case err == nil:
		p.pursue(a.Session)
		had, _ := p.askedFor(a.Session)
		p.answerView(w, r, had)
	case isNo(err):
		p.discard(a.Session)
		p.n.localError(w, r, err, extra{"nonce": a.nonceHex()})
	default:
		p.pursue(a.Session) // it may have been billed: the same call is made until it is answered
		p.n.localError(w, r, fmt.Errorf("%w: %w", meter.ErrOutcomeUnknown, err), extra{"nonce": a.nonceHex(), "intersection": a.Session})
	}
}

// isNo reports whether a call was refused: then nothing was billed.
func isNo(err error) bool {
	var cr *contracts.Refusal
	var mr *meter.Refusal
	return errors.As(err, &cr) || errors.As(err, &mr)
}

// badList says what is wrong with a list; never an id.
type badList struct{ what string }

func (b *badList) Error() string { return b.what }

// maxListBytes is that of the longest list.
const maxListBytes = psiMaxIDs * 20

// takeList keeps a list, and then the record that it was asked about.
func (p *intersecting) takeList(w http.ResponseWriter, r *http.Request, a *asked) error {
	lines := bufio.NewScanner(http.MaxBytesReader(w, r.Body, maxListBytes))
	err := replaceWith(filepath.Join(p.folder(a.Session), listFile), func(f *bufio.Writer) error {
		for lines.Scan() {
			a.IDs++
			code := contracts.CreditCode(strings.TrimSuffix(lines.Text(), "\r"))
			if code.Check() != nil {
				return &badList{fmt.Sprintf("line %d is no credit code", a.IDs)}
			}
			if a.IDs > psiMaxIDs {
				return &badList{fmt.Sprintf("a list has %d lines at most", psiMaxIDs)}
			}
			f.WriteString(string(code))
			f.WriteByte('\n') // the writer keeps its first error
		}
		if lines.Err() != nil {
			return &badList{"the list is cut off or too long"}
		}
		if a.IDs == 0 {
			return &badList{"the list is empty"}
		}
		if a.size() > psiMaxIDs {
			return &badList{fmt.Sprintf("the list is announced as %d, at most %d may be; announce it exact", a.size(), psiMaxIDs)}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return errors.Join(syncDir(p.dir), p.keep(a))
}

// discard forgets an intersection.
func (p *intersecting) discard(id contracts.ID) error {
	p.mu.Lock()
	delete(p.asked, id)
	delete(p.progress, id)
	delete(p.waiting, id)
	p.mu.Unlock()
	if err := os.RemoveAll(p.folder(id)); err != nil {
		return fmt.Errorf("couldn't remove an intersection: %w", err)
	}
	return nil
}

func (p *intersecting) answerView(w http.ResponseWriter, r *http.Request, a asked) {
	v, err := p.view(a)
	if err != nil {
		p.n.localError(w, r, err)
		return
	}
	answer(w, v)
}

func (p *intersecting) localList(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	var all []asked
	for _, a := range p.asked {
		all = append(all, *a)
	}
	p.mu.Unlock()
	slices.SortFunc(all, func(a, b asked) int { return strings.Compare(a.nonceHex(), b.nonceHex()) }) // by time
	out := []*localIntersection{}
	for _, a := range all {
		v, err := p.view(a)
		if err != nil {
			p.n.localError(w, r, err)
			return
		}
		out = append(out, v)
	}
	answer(w, map[string]any{"intersections": out})
}

// one finds the intersection in the path, or answers.
func (p *intersecting) one(w http.ResponseWriter, r *http.Request) (a asked, ok bool) {
	id, ok := pathID(w, r)
	if !ok {
		return a, false
	}
	if a, ok = p.askedFor(id); !ok {
		refuse(w, http.StatusConflict, noIntersection, "this node has no intersection with this id")
	}
	return a, ok
}

func (p *intersecting) localOne(w http.ResponseWriter, r *http.Request) {
	if a, ok := p.one(w, r); ok {
		p.answerView(w, r, a)
	}
}

// localMatches gives the credit codes that the provider has too, one a line, in the list's order.
func (p *intersecting) localMatches(w http.ResponseWriter, r *http.Request) {
	a, ok := p.one(w, r)
	if !ok {
		return
	}
	if !a.Done {
		refuse(w, http.StatusConflict, unfinished, "the intersection is not done")
		return
	}
	f, err := os.Open(filepath.Join(p.folder(a.Session), matchesFile))
	if err != nil {
		p.n.localError(w, r, err)
		return
	}
	defer f.Close()
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	io.Copy(w, f)
}

// localForget removes what is kept of an intersection that is over, the matches too.
func (p *intersecting) localForget(w http.ResponseWriter, r *http.Request) {
	a, ok := p.one(w, r)
	if !ok {
		return
	}
	if !a.over() {
		refuse(w, http.StatusConflict, unfinished, "the intersection is under way")
		return
	}
	if err := p.discard(a.Session); err != nil {
		p.n.localError(w, r, err)
		return
	}
	answer(w, map[string]bool{"forgotten": true})
}
