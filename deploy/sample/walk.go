package sample

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/deploy/cast"
	"github.com/bund-exchange/bund/deploy/stack"
)

// walk uses every product of the sample market that is used without being handed over, by the node's own commands, and
// holds each answer against what the plain data says.
type walk struct {
	*cast.Stack
	ctx   context.Context
	shown *Shown
}

// Walk runs the whole walk, a line for each step. Its error says how many steps failed.
func Walk(ctx context.Context, s *cast.Stack, shown *Shown) error {
	w := &walk{s, ctx, shown}
	failed := 0
	began := time.Now()
	steps := []struct {
		name string
		run  func() error
	}{
		{"密封交付 sealed delivery: the file that arrives is the dataset", w.file},
		{"隐私查询 private lookup: found and not found, as the dataset has it", w.private},
		{"授权绑定查询 consent-bound lookup: who consented is answered", w.consented},
		{"授权撤回 a revoked consent gets no ticket", w.revoked},
		{"别的目的 another purpose is refused", w.purpose},
		{"企业历史 the consent service tells a company who asked", w.history},
		{"统计计算 compute: noisy, near the truth, the same again for the same question", w.compute},
		{"名单求交 intersection: the companies in both lists", w.intersect},
		{"联合评分 joint score: as the plain scorecard says", w.score},
		{"评分上限 a company is scored as often as the rulebook allows", w.capped},
		{"联合统计 joint statistic: near the plain sum, sold under a grant", w.statistic},
	}
	for _, x := range steps {
		t := time.Now()
		err := x.run()
		mark := "ok  "
		if err != nil {
			mark = "FAIL"
			failed++
		}
		fmt.Fprintf(s.Out, "%s %s  %.1f s\n", mark, x.name, time.Since(t).Seconds())
		if err != nil {
			fmt.Fprintf(s.Out, "     %v\n", err)
		}
	}
	fmt.Fprintf(s.Out, "%d steps, %d failed, %.0f s\n", len(steps), failed, time.Since(began).Seconds())
	if failed > 0 {
		return fmt.Errorf("%d of %d steps failed", failed, len(steps))
	}
	return nil
}

// datanode runs a command of the node of name.
func (w *walk) datanode(name string, command []string, args ...string) ([]byte, error) {
	return stack.Run(w.ctx, nil, filepath.Join(w.Bin, "datanode"), slices.Concat(command, []string{"--config", filepath.Join(w.Dir, name+".yaml")}, args)...)
}

// refused runs a command that must be refused with a code.
func (w *walk) refused(code, name string, command []string, args ...string) error {
	_, err := w.datanode(name, command, args...)
	if err == nil {
		return fmt.Errorf("it was done, want %s", code)
	}
	if !strings.Contains(err.Error(), code) {
		return fmt.Errorf("want %s: %w", code, err)
	}
	return nil
}

func (w *walk) agreement(key string) string { return string(w.shown.Private[key].Agreement) }

func (w *walk) lines(name string) ([]string, error) {
	b, err := os.ReadFile(filepath.Join(w.Dir, name))
	return strings.Fields(string(b)), err
}

func (w *walk) file() error {
	out := filepath.Join(w.Dir, "directory-fetched.csv")
	if _, err := w.datanode("buyer", []string{"fetch"}, "--agreement", w.agreement("directory"), "--fields", "staff", "--purpose", "pre_loan", "--out", out); err != nil {
		return err
	}
	b, err := os.ReadFile(out)
	if err != nil {
		return err
	}
	var want strings.Builder
	for line := range strings.Lines(directoryCSV()) {
		want.WriteString(line[strings.IndexByte(line, ',')+1:])
	}
	got, plain := strings.Fields(string(b)), strings.Fields(want.String())
	slices.Sort(got) // the dataset is kept in order of company
	slices.Sort(plain)
	if !slices.Equal(got, plain) {
		return fmt.Errorf("%d lines arrived, the dataset's column has %d, and they differ", len(got), len(plain))
	}
	return nil
}

type looked struct {
	Answers []struct {
		Subject contracts.CreditCode
		Outcome string
		Values  map[string]string
	}
	Billed int64
}

func (w *walk) look(key string, args ...string) (*looked, error) {
	out, err := w.datanode("buyer", []string{"lookup", "ask"}, append([]string{"--agreement", w.agreement(key), "--purpose", "pre_loan"}, args...)...)
	if err != nil {
		return nil, err
	}
	a := new(looked)
	return a, json.Unmarshal(out, a)
}

func (w *walk) private() error {
	has := map[string]string{}
	for line := range strings.Lines(debtorsCSV()) {
		code, cases, _ := strings.Cut(strings.TrimSpace(line), ",")
		has[code] = cases
	}
	_, codes := taxRows()
	var list []string
	for _, c := range codes[:12] {
		list = append(list, string(c))
	}
	for _, more := range [][]string{nil, {"--buckets"}} {
		a, err := w.look("debtors", append([]string{"--subjects", strings.Join(list, ",")}, more...)...)
		if err != nil {
			return err
		}
		if len(a.Answers) != len(list) || a.Billed != int64(len(list)) {
			return fmt.Errorf("%d answers, %d billed, want %d", len(a.Answers), a.Billed, len(list))
		}
		for _, x := range a.Answers {
			if want, ok := has[string(x.Subject)]; ok != (x.Outcome == "FOUND") || ok && x.Values["cases"] != want {
				return fmt.Errorf("%s: %s %v, the dataset has %q", x.Subject, x.Outcome, x.Values, want)
			}
		}
	}
	return nil
}

func (w *walk) consented() error {
	ls, err := w.lines("lookup-consents.csv")
	if err != nil {
		return err
	}
	a, err := w.look("tax-consent", "--consents", filepath.Join(w.Dir, "lookup-consents.csv"))
	if err != nil {
		return err
	}
	if len(a.Answers) != len(ls) {
		return fmt.Errorf("%d answers of %d", len(a.Answers), len(ls))
	}
	for i, x := range a.Answers {
		if want := strconv.Itoa(55 + (i*13)%45); x.Outcome != "FOUND" || x.Values["tax_score"] != want {
			return fmt.Errorf("%s: %s %v, the dataset has tax_score %s", x.Subject, x.Outcome, x.Values, want)
		}
	}
	return nil
}

func (w *walk) revoked() error {
	ls, err := w.lines("lookup-consents.csv")
	if err != nil {
		return err
	}
	last := ls[len(ls)-1]
	one := filepath.Join(w.Dir, "revoked.csv")
	if err := os.WriteFile(one, []byte(last+"\n"), 0o600); err != nil {
		return err
	}
	if err := Local(w.ctx, w.Stack, "buyer", w.BuyerLocal, "POST", "/v1/consents/"+strings.Split(last, ",")[1]+"/revoke", map[string]any{}, nil); err != nil {
		return err
	}
	// The consent service follows the ledger in its own time; from then on there is no ticket.
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		err := w.refused("consent.revoked", "buyer", []string{"lookup", "ask"}, "--agreement", w.agreement("tax-consent"), "--purpose", "pre_loan", "--consents", one)
		if err == nil || time.Now().After(end) || w.ctx.Err() != nil {
			return err
		}
	}
}

func (w *walk) purpose() error {
	return w.refused("policy.purpose", "buyer", []string{"lookup", "ask"}, "--agreement", w.agreement("debtors"), "--purpose", "post_loan", "--subjects", string(w.shown.Debtor))
}

func (w *walk) history() error {
	_, codes := taxRows()
	out, err := w.datanode("steward", []string{"lookup", "history"}, "--subject", string(codes[3]))
	if err != nil {
		return err
	}
	var h struct {
		Entries []struct{ Bank, Purpose string }
	}
	if err := json.Unmarshal(out, &h); err != nil {
		return err
	}
	if len(h.Entries) == 0 || h.Entries[0].Purpose != "pre_loan" {
		return fmt.Errorf("the history of %s has %d entries", codes[3], len(h.Entries))
	}
	return nil
}

func (w *walk) compute() error {
	var first []string
	for range 2 {
		out, err := w.datanode("buyer", []string{"query"}, "--agreement", w.agreement("tax-compute"), "--purpose", "pre_loan", "--spec", filepath.Join(w.Dir, "query.json"))
		if err != nil {
			return err
		}
		var a struct {
			Answer struct {
				Cells []struct{ Values []string }
			}
		}
		if err := json.Unmarshal(out, &a); err != nil {
			return err
		}
		if len(a.Answer.Cells) != 1 || len(a.Answer.Cells[0].Values) != 2 {
			return fmt.Errorf("answered %s", out)
		}
		if first != nil && !slices.Equal(first, a.Answer.Cells[0].Values) {
			return fmt.Errorf("the same question was answered %v, then %v", first, a.Answer.Cells[0].Values)
		}
		first = a.Answer.Cells[0].Values
	}
	count, sum := 0, 0.0
	for i := range 200 {
		if 55+(i*13)%45 >= 75 {
			count++
			sum += min(500_000, float64(12_000*(i%37+1)+1_000)+float64((i*7)%100)/100) // the newest month's
		}
	}
	c, err := strconv.ParseFloat(first[0], 64)
	m, err2 := strconv.ParseFloat(first[1], 64)
	if err := errors.Join(err, err2); err != nil {
		return err
	}
	// At this epsilon a count is off by more than 20, and the mean by more than a fifth, in fewer than one run of 10^9.
	if mean := sum / float64(count); math.Abs(c-float64(count)) > 20 || math.Abs(m-mean) > mean/5 {
		return fmt.Errorf("count %v and mean %v, the dataset has %d and %.0f", c, m, count, mean)
	}
	return nil
}

func (w *walk) intersect() error {
	out := filepath.Join(w.Dir, "matches.csv")
	if _, err := w.datanode("buyer", []string{"psi"}, "--agreement", w.agreement("debtors"), "--purpose", "pre_loan", "--ids", filepath.Join(w.Dir, "psi-list.csv"), "--out", out); err != nil {
		return err
	}
	got, err := w.lines("matches.csv")
	if err != nil {
		return err
	}
	has := debtorsCSV()
	var want []string
	for line := range strings.Lines(psiList()) {
		if code := strings.TrimSpace(line); strings.Contains(has, "\n"+code+",") {
			want = append(want, code)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		return fmt.Errorf("%d companies in both, the lists have %d", len(got), len(want))
	}
	return nil
}

// plainScore is what the scorecard says of company i of the tax dataset, in thousandths.
func plainScore(i int) int64 {
	invoiced := float64(12_000*(i%37+1)+1_000) + float64((i*7)%100)/100
	red, score := float64((i%6)*10+i%10)/1000, 55+(i*13)%45
	bin := func(v float64, edges []float64, weights []int64) int64 {
		n := 0
		for n < len(edges) && v > edges[n] {
			n++
		}
		return weights[n]
	}
	return 420 + bin(invoiced, []float64{50_000, 120_000, 300_000}, []int64{812, 240, -155, -481}) + bin(red, []float64{.02, .04}, []int64{-210, 65, 733}) +
		bin(float64(score), []float64{60, 75, 90}, []int64{655, 118, -262, -540})
}

func (w *walk) scores(out string) ([]string, error) {
	_, err := w.datanode("buyer", []string{"score"}, "--agreement", w.agreement("tax-score"), "--model", string(w.shown.Model), "--purpose", "pre_loan",
		"--subjects", filepath.Join(w.Dir, "score-subjects.csv"), "--out", filepath.Join(w.Dir, out))
	if err != nil {
		return nil, err
	}
	return w.lines(out)
}

func (w *walk) score() error {
	got, err := w.scores("scores.csv")
	if err != nil {
		return err
	}
	_, codes := taxRows()
	if len(got) != 20 {
		return fmt.Errorf("%d scores of 20", len(got))
	}
	for i, line := range got {
		if want := fmt.Sprintf("%s,%d", codes[i], plainScore(i)); line != want {
			return fmt.Errorf("scored %s, the plain card says %s", line, want)
		}
	}
	return nil
}

func (w *walk) capped() error {
	for n := 2; ; n++ {
		_, err := w.scores(fmt.Sprintf("scores-%d.csv", n))
		switch {
		case err != nil && strings.Contains(err.Error(), "score.cap") && n == 5: // the rulebook's cap is four
			return nil
		case err != nil:
			return err
		case n >= 5:
			return errors.New("a company was scored a fifth time")
		}
	}
}

func (w *walk) statistic() error {
	truth := make([]int64, len(LenderBuckets)+1)
	for i := range 3 {
		for _, v := range Lenders(i) {
			n := 0
			for n < len(LenderBuckets) && v >= LenderBuckets[n] {
				n++
			}
			truth[n]++
		}
	}
	if _, err := w.datanode("collector", []string{"stats", "collect"}, "--task", string(w.shown.Task)); err != nil {
		return err
	}
	out, err := w.datanode("buyer", []string{"stats", "result"}, "--agreement", w.agreement("exposure"), "--task", string(w.shown.Task), "--fields", "lenders", "--purpose", "pre_loan")
	if err != nil {
		return err
	}
	var a struct {
		Result struct {
			Reports int64
			Values  []int64
		}
	}
	if err := json.Unmarshal(out, &a); err != nil {
		return err
	}
	if len(a.Result.Values) != len(truth) || a.Result.Reports != 150 {
		return fmt.Errorf("answered %s", out)
	}
	for i, v := range a.Result.Values {
		if d := v - truth[i]; d > 45 || d < -45 { // at epsilon 1 once in more than 10^9 draws
			return fmt.Errorf("%v, the plain sum is %v", a.Result.Values, truth)
		}
	}
	return nil
}
