package main

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
	"github.com/bund-exchange/bund/contracts/contractstest"
	"github.com/bund-exchange/bund/contracts/policy"
	"github.com/bund-exchange/bund/node/peer"
	"github.com/bund-exchange/bund/privacy/score"
)

const testCard = `unit: 0.001
base: -3.4125
features:
  - {field: invoiced_12m, bins: [2003.75, 2007, 2010.75], weights: [0.9, 0.25, -0.1, -0.8004]}
  - {field: red_ratio, bins: [0.015], weights: [-0.3, 0.45], missing: 0.1}
  - {field: tax_score, from: 60.5, step: 2, most: 10, weight: -0.0115}
`

type madeModel struct {
	Digest      contracts.Hash `json:"digest"`
	Features    contracts.Hash `json:"features"`
	Arity       int64          `json:"arity"`
	Fields      []string       `json:"fields"`
	ForAssessor string         `json:"forAssessor"`
}

// made makes a model at the bank's node.
func (w *world) made(card string) (m madeModel) {
	w.t.Helper()
	ok(w.t, w.bank.ask(http.MethodPost, "/v1/models", map[string]string{"card": card}, &m))
	return m
}

// register registers a model under a deal; attest has the assessor attest it.
func (w *world) register(d *contractstest.Deal, x madeModel) contracts.ID {
	w.t.Helper()
	m := w.m
	m.catchUp()
	ok(w.t, m.Do(m.Buyer.ID, "model.register", contracts.ModelRegister{Agreement: d.Agreement, Digest: x.Digest, Features: x.Features, Arity: x.Arity, Assessor: m.Assessor.ID}, nil, m.Buyer.Two()...))
	return m.Last("model")
}

func (w *world) attest(id contracts.ID, x madeModel) {
	w.t.Helper()
	m := w.m
	m.catchUp()
	ok(w.t, m.Do(m.Assessor.ID, "model.attest", contracts.ModelAttest{Model: id, Digest: x.Digest, Document: contracts.HashOf("test/opinion"), Expires: m.Now.Add(30 * 86400)}, nil, m.Assessor.Two()...))
	w.followed(w.provider)
	w.followed(w.bank)
}

type scoresAnswer struct {
	Outcome string       `json:"outcome"`
	Scores  []localScore `json:"scores"`
	Nonce   string       `json:"nonce"`
	Receipt localReceipt `json:"receipt"`
}

// scores asks for companies under a model.
func (w *world) scores(d *contractstest.Deal, model contracts.ID, cs []contracts.CreditCode, edit func(query)) (*scoresAnswer, error) {
	var subjects []map[string]any
	for _, c := range cs {
		subjects = append(subjects, map[string]any{"code": c, "consent": w.consents[c].ID, "consentKey": w.consents[c].Key})
	}
	q := query{"agreement": d.Agreement, "model": model, "purpose": "pre_loan", "subjects": subjects}
	if edit != nil {
		edit(q)
	}
	a := new(scoresAnswer)
	if err := w.bank.ask(http.MethodPost, "/v1/scores", q, a); err != nil {
		return nil, err
	}
	return a, nil
}

// evaluationsPerSubject has the venue allow so many.
func (m *testMarket) evaluationsPerSubject(n int64) {
	m.t.Helper()
	m.catchUp()
	rules := contractstest.Rules()
	rules.Version, rules.EvaluationsPerSubject = 2, n
	ok(m.t, m.Do(m.Venue.ID, "rulebook.adopt", contracts.RulebookAdopt{Regulator: m.Regulator.ID, Rulebook: rules}, nil, append(m.Venue.Two(), m.Regulator.Two()...)...))
}

// TestJointScore walks joint scoring through two nodes: a model is made, registered, attested, sent and used up to its
// cap; scores are those of the card in clear.
func TestJointScore(t *testing.T) {
	t.Parallel()
	w := newTestWorld(t, policy.JointScore)
	m := w.m
	d := m.agree(nil)
	m.evaluationsPerSubject(3)
	w.provider.start()
	w.bank.start()
	w.registerConsents(companies, 1000)
	billed := w.ready(d)

	x := w.made(testCard)
	if x.Arity != 3+2+1 || strings.Join(x.Fields, " ") != "invoiced_12m red_ratio tax_score" {
		t.Fatalf("made %+v", x)
	}
	if _, err := w.scores(d, m.Buyer.ID, companies, nil); codeOf(err) != "model.unknown" {
		t.Errorf("before it is registered: %v", err)
	}
	id := w.register(d, x)
	w.followed(w.bank)
	w.followed(w.provider)
	if _, err := w.scores(d, id, companies, nil); codeOf(err) != "model.unattested" {
		t.Errorf("before it is attested: %v", err)
	}
	w.sub(t, "assessed", func(t *testing.T) { assessed(t, x) })
	w.attest(id, x)

	// All companies, the last of which the provider hasn't got.
	card, err := readCard([]byte(testCard))
	ok(t, err)
	check := func(a *scoresAnswer) {
		t.Helper()
		if len(a.Scores) != len(companies) || a.Outcome != "FOUND" || a.Receipt.Units != int64(len(companies)) {
			t.Fatalf("%+v", a)
		}
		for i, got := range a.Scores {
			want := localScore{Code: companies[i], Absent: i == 20}
			if i < 20 {
				want.Score, err = card.Score([]string{fmt.Sprintf("%d.75", 2000+i), "0.02", fmt.Sprint(70 + i)})
				ok(t, err)
			}
			if got != want {
				t.Errorf("company %d: %+v, want %+v", i, got, want)
			}
		}
	}
	w.provider.proxy.lose.Store(1) // the first answer is lost: it is not scored twice
	a, err := w.scores(d, id, companies, nil)
	ok(t, err)
	w.provider.proxy.lose.Store(0)
	check(a)
	if a.Scores[0].Score != -3413+900+450-12*4 { // ⌊(70 − 60.5)/2⌋ steps
		t.Errorf("by hand, company 0: %d", a.Scores[0].Score)
	}
	b, err := w.scores(d, id, companies, func(q query) { q["nonce"] = a.Nonce })
	ok(t, err)
	if check(b); b.Receipt != a.Receipt {
		t.Errorf("the same nonce: %+v, then %+v", a.Receipt, b.Receipt)
	}
	billed++

	w.sub(t, "refused", func(t *testing.T) { w.scoreRefusals(t, d, id) })
	w.sub(t, "model files", func(t *testing.T) { w.modelFiles(t, d, id, x) })

	// As of an earlier date, after a restart of both: model and counts are kept.
	w.provider.end()
	w.bank.end()
	w.provider.start()
	w.bank.start()
	until(t, "scores after a restart", func() error {
		a, err = w.scores(d, id, companies[:3], func(q query) { q["asOf"] = contracts.Day("2026-02-01").Start() })
		return err
	})
	billed++
	for i, got := range a.Scores {
		want, err := card.Score([]string{fmt.Sprintf("%d.25", 1000+i), "0.01", fmt.Sprint(60 + i)})
		ok(t, err)
		if got.Score != want || got.Absent {
			t.Errorf("company %d in January: %+v, want %d", i, got, want)
		}
	}

	// Another model shares the cap: one evaluation is left to the first three, two to the rest.
	y := w.made(strings.Replace(testCard, "0.45", "0.46", 1))
	second := w.register(d, y)
	w.attest(second, y)
	for i, want := range []string{"", "score.cap"} {
		if _, err := w.scores(d, second, companies[:4], nil); codeOf(err) != want {
			t.Errorf("evaluation %d by the second model: %v, want %q", 3+i, err, want)
		}
	}
	billed++
	if _, err := w.scores(d, id, companies[2:4], nil); codeOf(err) != "score.cap" {
		t.Errorf("the first model, after the second used the cap up: %v", err)
	}
	_, err = w.scores(d, id, companies[3:21], nil) // company 3 has one left: what was refused counted nobody
	ok(t, err)
	billed++

	m.catchUp()
	ok(t, m.Do(m.Assessor.ID, "model.withdraw", contracts.ModelWithdraw{Model: id, Reason: "test"}, nil, m.Assessor.Maker))
	w.followed(w.provider)
	if _, err := w.scores(d, id, companies[4:5], nil); codeOf(err) != "model.withdrawn" {
		t.Errorf("withdrawn: %v", err)
	}
	w.agreed(d, billed)
	v, err := w.view(w.bank, d)
	ok(t, err)
	if want := int64(1 + 21 + 3 + 4 + 18); v.Consumer.Totals.Units != want {
		t.Errorf("billed %d units, want %d", v.Consumer.Totals.Units, want)
	}
	for name, log := range map[string]string{"provider": w.provider.log.String(), "bank": w.bank.log.String()} {
		for _, c := range companies {
			if strings.Contains(log, string(c)) {
				t.Errorf("the %s's log names company %s", name, c)
			}
		}
	}
}

// assessed runs the assessor's command on what the bank hands over.
func assessed(t *testing.T, x madeModel) {
	var out, errs bytes.Buffer
	if code := run(t.Context(), []string{"assess", "--model", x.ForAssessor, "--digest", string(x.Digest)}, nil, &out, &errs); code != 0 {
		t.Fatalf("exit %d: %s", code, errs.String())
	}
	var card struct {
		Base    int64
		Weights [][]int64
	}
	if err := json.Unmarshal(out.Bytes(), &card); err != nil || card.Base != -3413 || len(card.Weights) != 3 || card.Weights[0][3] != -800 {
		t.Errorf("printed %s, %v", out.Bytes(), err)
	}
	other := contracts.HashOf("test/other")
	if code := run(t.Context(), []string{"assess", "--model", x.ForAssessor, "--digest", string(other)}, nil, io.Discard, &errs); code != 3 || !strings.Contains(errs.String(), "score.model") {
		t.Errorf("another digest: exit %d: %s", code, errs.String())
	}
	if st, err := os.Stat(x.ForAssessor); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("the card's file: %v, %v", st.Mode(), err)
	}
}

// scoreRefusals are those that lie in the request; none counts an evaluation, as the caps that follow show.
func (w *world) scoreRefusals(t *testing.T, d *contractstest.Deal, id contracts.ID) {
	for code, edit := range map[string]func(query){
		"policy.purpose":    func(q query) { q["purpose"] = "post_loan" },
		"agreement.unknown": func(q query) { q["agreement"] = w.m.Buyer.ID },
		"consent.missing":   func(q query) { q["subjects"] = []map[string]any{{"code": companies[0]}} },
		"consent.subject": func(q query) {
			q["subjects"] = []map[string]any{{"code": companies[0], "consent": w.consents[companies[1]].ID, "consentKey": w.consents[companies[1]].Key}}
		},
	} {
		if _, err := w.scores(d, id, companies[:2], edit); codeOf(err) != code {
			t.Errorf("%s: %v", code, err)
		}
	}
	twice := func(q query) {
		q["subjects"] = append(q["subjects"].([]map[string]any), q["subjects"].([]map[string]any)[0])
	}
	for name, edit := range map[string]func(query){
		"a company twice": twice, "nobody": func(q query) { q["subjects"] = []any{} }, "half a consent": func(q query) { delete(q["subjects"].([]map[string]any)[0], "consentKey") },
		"unknown field": func(q query) { q["fields"] = []string{"tax_score"} }, "no credit code": func(q query) { q["subjects"].([]map[string]any)[0]["code"] = "1" },
	} {
		if _, err := w.scores(d, id, companies[:2], edit); codeOf(err) != "request.malformed" {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, card := range map[string]string{"no card": "", "unknown key": testCard + "extra: 1\n", "an exponent": strings.Replace(testCard, "0.9,", "9e-1,", 1),
		"seven places": strings.Replace(testCard, "2007", "2007.0000001", 1), "weights too few": strings.Replace(testCard, "-0.8004", "", 1),
		"no unit": strings.Replace(testCard, "0.001", "0", 1), "two documents": testCard + "---\n" + testCard} {
		if err := w.bank.ask(http.MethodPost, "/v1/models", map[string]string{"card": card}, nil); codeOf(err) != "request.malformed" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// modelFiles speaks to the provider's node about model files, as the bank's node and as others.
func (w *world) modelFiles(t *testing.T, d *contractstest.Deal, id contracts.ID, x madeModel) {
	n := w.bank.n
	link := func() *peer.Link {
		l, err := peer.Pins{Key: n.keys.TLS, Read: n.readBoth, Now: n.now}.Link(w.m.Provider.Node)
		ok(t, err)
		return l
	}()
	defer link.CloseIdleConnections()
	say := func(method string, model contracts.ID, body []byte) (int, string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, w.m.NodeURL+"/agreements/"+string(d.Agreement)+"/model/"+string(model), bytes.NewReader(body))
		ok(t, err)
		resp, err := link.RoundTrip(r)
		ok(t, err)
		defer resp.Body.Close()
		var p problem
		json.NewDecoder(resp.Body).Decode(&p)
		return resp.StatusCode, p.Code
	}
	if status, _ := say(http.MethodGet, id, nil); status != http.StatusNoContent {
		t.Errorf("the model that was sent: %d", status)
	}
	if status, code := say(http.MethodGet, w.m.Buyer.ID, nil); status != http.StatusConflict || code != "model.unknown" {
		t.Errorf("an unknown model: %d %s", status, code)
	}
	// A registered one that was never sent takes the registered file only, whole.
	y := w.made(testCard)
	if y.Digest == x.Digest {
		t.Fatal("two models of one card are the same")
	}
	other := w.register(d, y)
	lying := y
	lying.Features = x.Digest
	wrong := w.register(d, lying)
	w.followed(w.provider)
	own, err := readOwn(y.ForAssessor)
	ok(t, err)
	var file bytes.Buffer
	_, err = score.EncryptModel(&file, &own.Card, own.Secret)
	ok(t, err)
	if status, code := say(http.MethodGet, other, nil); status != http.StatusNotFound || code != "model.digest" {
		t.Errorf("a model that was not sent: %d %s", status, code)
	}
	damaged := bytes.Clone(file.Bytes())
	damaged[len(damaged)-20] ^= 1
	for name, b := range map[string][]byte{"empty": {}, "short": file.Bytes()[:file.Len()-1], "long": append(bytes.Clone(file.Bytes()), 0), "damaged": damaged} {
		if status, code := say(http.MethodPut, other, b); status != http.StatusConflict || code != "score.model" {
			t.Errorf("%s: %d %s", name, status, code)
		}
	}
	if status, code := say(http.MethodPut, wrong, file.Bytes()); status != http.StatusConflict || code != "score.model" {
		t.Errorf("of other features than registered: %d %s", status, code)
	}
	if status, _ := say(http.MethodPut, other, file.Bytes()); status != http.StatusNoContent {
		t.Errorf("the file: %d", status)
	}
	files, err := os.ReadDir(filepath.Join(filepath.Dir(w.provider.config), "node", "score", "models"))
	if err != nil || len(files) != 2 {
		t.Errorf("the provider keeps %d files, %v", len(files), err)
	}
}

// TestScoreFile: the command goes on behind the last whole line of an unfinished file, and reads lists of companies.
func TestScoreFile(t *testing.T) {
	t.Parallel()
	out := filepath.Join(t.TempDir(), "scores.csv")
	ok(t, os.WriteFile(out, []byte(string(companies[1])+",-12\n"+string(companies[2])+",\n"+string(companies[3])+",-"), 0o600))
	f, done, err := openScores(out)
	ok(t, err)
	if len(done) != 2 || !done[companies[1]] || !done[companies[2]] {
		t.Errorf("done: %v", done)
	}
	ok(t, appendScores(f, []localScore{{Code: companies[3], Score: -7}, {Code: companies[4], Absent: true}}))
	ok(t, f.Close())
	b, err := os.ReadFile(out)
	want := fmt.Sprintf("%s,-12\n%s,\n%s,-7\n%s,\n", companies[1], companies[2], companies[3], companies[4])
	if err != nil || string(b) != want {
		t.Errorf("got %q, %v", b, err)
	}
	ok(t, os.WriteFile(out, []byte("something else\n"), 0o600))
	if _, _, err := openScores(out); err == nil {
		t.Error("another file was taken for scores")
	}
	key := hex.EncodeToString(make([]byte, 32))
	for text, want := range map[string]int{
		string(companies[0]) + "\n" + string(companies[1]) + "\n":                              2,
		string(companies[0]) + "," + string(contracts.ID(key[:32])) + "," + key + "\n":         1,
		string(companies[0]) + "\n" + string(companies[0]) + "\n":                              -1,
		string(companies[0]) + ",x\n":                                                          -1,
		"91310115MA1K00007R\n":                                                                 -1,
		string(companies[0]) + "\n" + string(companies[1]) + "," + key[:32] + "," + key + "\n": -1,
	} {
		name := filepath.Join(t.TempDir(), "subjects.csv")
		ok(t, os.WriteFile(name, []byte(text), 0o600))
		list, err := readSubjects(name)
		if (err == nil) != (want >= 0) || err == nil && len(list) != want {
			t.Errorf("%q: %d, %v", text, len(list), err)
		}
	}
}

// TestScoreCountsSurviveKill: a provider's node that is killed while it scores has counted whatever it answered, so that
// no company is ever scored more often than the rulebook allows.
func TestScoreCountsSurviveKill(t *testing.T) {
	t.Parallel()
	w := newTestWorld(t, policy.JointScore)
	d := w.m.agree(nil)
	const most = 5
	w.m.evaluationsPerSubject(most)
	w.provider.startChild()
	w.bank.start()
	w.registerConsents(companies[:8], 1000)
	w.ready(d)
	x := w.made(testCard)
	id := w.register(d, x)
	w.attest(id, x)

	var mu sync.Mutex
	answered := map[contracts.CreditCode]int{}
	round := func(kill bool) {
		var wg sync.WaitGroup
		asked := make(chan struct{}, len(companies))
		for _, c := range companies[:8] {
			wg.Go(func() {
				asked <- struct{}{}
				if _, err := w.scores(d, id, []contracts.CreditCode{c}, nil); err == nil {
					mu.Lock()
					answered[c]++
					mu.Unlock()
				} else if code := codeOf(err); code != "score.cap" && !kill {
					t.Error(err)
				}
			})
		}
		for range 4 {
			<-asked
		}
		if kill {
			w.provider.kill()
			w.provider.startChild()
		}
		wg.Wait()
	}
	for i := range 2 * most {
		round(i%2 == 0 && i < most)
	}
	for c, n := range answered {
		if n > most {
			t.Errorf("%s was scored %d times, at most %d are allowed", c, n, most)
		}
	}
	if len(answered) != 8 {
		t.Errorf("%d of 8 companies were ever scored", len(answered))
	}
	if _, err := w.scores(d, id, companies[:1], nil); codeOf(err) != "score.cap" {
		t.Errorf("after all that: %v", err)
	}
}

// FuzzCardFile: a scorecard that is read is one that can be encrypted.
func FuzzCardFile(f *testing.F) {
	f.Add(testCard)
	f.Add("unit: 1\nbase: 0\nfeatures:\n  - {field: a, groups: [[x], [z, y]], weights: [1, 2, 3]}\n")
	f.Add("unit: 0.5\nbase: .5\nfeatures: [{field: a, from: -1, step: 0.000001, most: 65535, weight: 1000}]\n")
	f.Fuzz(func(t *testing.T, text string) {
		card, err := readCard([]byte(text))
		if err != nil {
			return
		}
		if err := card.Check(); err != nil {
			t.Fatal(err)
		}
		if _, err := score.ReadCard(canon.Marshal(card)); err != nil {
			t.Fatalf("the card can't be kept: %v", err)
		}
	})
}

// TestWholeUnits: decimals are rounded exactly, half away from zero.
func TestWholeUnits(t *testing.T) {
	t.Parallel()
	unit, _ := decimal("0.001")
	for text, want := range map[string]int64{"0": 0, "-0": 0, "1": 1000, "0.0004": 0, "0.0005": 1, "-0.0005": -1, "-0.00049999": 0, "-3.4125": -3413, "123456.789": 123456789} {
		if got, err := whole(text, unit); err != nil || got != want {
			t.Errorf("%s: %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "-", ".", "1e3", "+1", "0x1", "1/2", "1_000", " 1", "1 ", "--1", "1-", "99999999999999999999"} {
		if got, err := whole(text, unit); err == nil {
			t.Errorf("%q was read as %d", text, got)
		}
	}
}
