package main

import (
	"bytes"
	"encoding/csv"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/policy"
	"github.com/bund-exchange/bund/node/meter"
	"github.com/bund-exchange/bund/privacy/score"
)

// makeModel prints what model.register says.
func makeModel(c *command) error {
	var file, card string
	if err := c.flags(func(fs *flag.FlagSet) {
		fs.StringVar(&file, "config", "", "")
		fs.StringVar(&card, "card", "", "")
	}, "config", "card"); err != nil {
		return err
	}
	b, err := os.ReadFile(card)
	if err != nil {
		return fmt.Errorf("couldn't read scorecard: %w", err)
	}
	return c.ask(file, http.MethodPost, "/v1/models", map[string]string{"card": string(b)})
}

// assess recomputes a registered model from what the bank handed its assessor, and prints the card for the assessor to
// judge. It needs no node.
func assess(c *command) error {
	var file, digest string
	if err := c.flags(func(fs *flag.FlagSet) {
		fs.StringVar(&file, "model", "", "")
		fs.StringVar(&digest, "digest", "", "")
	}, "model", "digest"); err != nil {
		return err
	}
	own, err := readOwn(file)
	if err != nil {
		return err
	}
	if err := score.Attest(&own.Card, own.Secret, contracts.Hash(digest)); err != nil {
		var r *contracts.Refusal
		if errors.As(err, &r) {
			return &problem{Code: string(r.Code), Detail: r.Detail}
		}
		return err
	}
	rows, scores := own.Card.Bits()
	fmt.Fprintf(c.err, "该卡即登记的模型 · this card is the registered model. 企业取值至多 2^%.1f 种，得分至多 2^%.1f 种：前者不远多于后者时，一个得分可能说出全部取值 · a company's values are one of 2^%.1f, scores one of 2^%.1f: where the former aren't far more, one score may tell all values.\n",
		rows, scores, rows, scores)
	return printJSON(c.out, own.Card)
}

// scoreCompanies scores a list of companies, some thousands in a call, and appends to a file what each call brought.
func scoreCompanies(c *command) error {
	var file, agreement, model, purpose, subjects, out, asOf string
	if err := c.flags(func(fs *flag.FlagSet) {
		fs.StringVar(&file, "config", "", "")
		fs.StringVar(&agreement, "agreement", "", "")
		fs.StringVar(&model, "model", "", "")
		fs.StringVar(&purpose, "purpose", "", "")
		fs.StringVar(&subjects, "subjects", "", "")
		fs.StringVar(&out, "out", "", "")
		fs.StringVar(&asOf, "as-of", "", "")
	}, "config", "agreement", "model", "purpose", "subjects", "out"); err != nil {
		return err
	}
	at, err := day(asOf)
	if err != nil {
		return err
	}
	list, err := readSubjects(subjects)
	if err != nil {
		return err
	}
	f, done, err := openScores(out)
	if err != nil {
		return err
	}
	defer f.Close()
	total := len(list)
	list = slices.DeleteFunc(list, func(s localSubject) bool { return done[s.Code] })
	q := localScoresRequest{Agreement: contracts.ID(agreement), Model: contracts.ID(model), Purpose: policy.Purpose(purpose), AsOf: int64(at)}
	for size := maxScored; len(list) > 0; {
		fmt.Fprintf(c.err, "%d of %d companies\n", total-len(list), total)
		n := min(size, len(list))
		q.Subjects = list[:n]
		scores, err := c.scores(file, &q)
		var p *problem
		if errors.As(err, &p) && p.Code == string(meter.TooManyUnits) && n > 1 {
			size = n / 2 // the agreement's window is narrower
			continue
		}
		if err == nil {
			err = appendScores(f, scores)
		}
		if err != nil {
			return err
		}
		list = list[n:]
	}
	fmt.Fprintf(c.err, "%d of %d companies\n", total, total)
	return nil
}

// scores makes one call; while its outcome is unknown it asks again under the same nonce, which bills once.
func (c *command) scores(file string, q *localScoresRequest) ([]localScore, error) {
	nonce := meter.NewNonce(time.Now())
	q.Nonce = hex.EncodeToString(nonce[:])
	for try := 0; ; try++ {
		var a struct {
			Outcome string       `json:"outcome"`
			Detail  string       `json:"detail"`
			Scores  []localScore `json:"scores"`
		}
		err := c.get(file, http.MethodPost, "/v1/scores", q, &a)
		var p *problem
		switch {
		case err == nil && len(a.Scores) != len(q.Subjects):
			return nil, fmt.Errorf("couldn't score: the provider answered %s %s", a.Outcome, a.Detail)
		case err == nil:
			return a.Scores, nil
		case errors.As(err, &p) && p.Status < 500, try == 3, c.ctx.Err() != nil:
			return nil, err
		}
		fmt.Fprintf(c.err, "again, after: %v\n", err)
	}
}

// readSubjects reads lines of code, or code, consent and its key.
func readSubjects(name string) (list []localSubject, err error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("couldn't read subjects: %w", err)
	}
	defer f.Close()
	r := csv.NewReader(f)
	seen := map[contracts.CreditCode]bool{}
	for {
		row, err := r.Read() // all lines have as many columns as the first
		if errors.Is(err, io.EOF) {
			return list, nil
		}
		if err == nil && len(row) != 1 && len(row) != 3 {
			err = errors.New("want a code, or a code, a consent and its key")
		}
		line, _ := r.FieldPos(0)
		if err != nil {
			return nil, fmt.Errorf("couldn't read subjects: line %d: %w", line, err)
		}
		s := localSubject{Code: contracts.CreditCode(row[0])}
		if err := s.Code.Check(); err != nil {
			return nil, fmt.Errorf("couldn't read subjects: line %d: %w", line, err)
		}
		if seen[s.Code] {
			return nil, fmt.Errorf("couldn't read subjects: line %d: the company is there twice", line)
		}
		seen[s.Code] = true
		if len(row) == 3 {
			s.Consent, s.ConsentKey = contracts.ID(row[1]), row[2]
		}
		list = append(list, s)
	}
}

// openScores opens the file of scores behind its last whole line: each further evaluation of a company counts against
// its cap, so that what was scored isn't again.
func openScores(name string) (f *os.File, done map[contracts.CreditCode]bool, err error) {
	if f, err = os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return nil, nil, fmt.Errorf("couldn't open scores: %w", err)
	}
	fail := func(err error) (*os.File, map[contracts.CreditCode]bool, error) {
		f.Close()
		return nil, nil, fmt.Errorf("couldn't go on with %s: %w", name, err)
	}
	b, err := io.ReadAll(f)
	if err != nil {
		return fail(err)
	}
	for len(b) > 0 && b[len(b)-1] != '\n' {
		b = b[:len(b)-1]
	}
	done = map[contracts.CreditCode]bool{}
	rows, err := csv.NewReader(bytes.NewReader(b)).ReadAll()
	for _, row := range rows {
		if len(row) != 2 || contracts.CreditCode(row[0]).Check() != nil {
			return fail(errors.New("it is no file of scores"))
		}
		done[contracts.CreditCode(row[0])] = true
	}
	if err = errors.Join(err, f.Truncate(int64(len(b)))); err != nil {
		return fail(err)
	}
	if _, err := f.Seek(int64(len(b)), io.SeekStart); err != nil {
		return fail(err)
	}
	return f, done, nil
}

// appendScores writes code and score; the score of a company that the provider hasn't got is empty.
func appendScores(f *os.File, scores []localScore) error {
	var b []byte
	for _, s := range scores {
		b = append(append(b, s.Code...), ',')
		if !s.Absent {
			b = strconv.AppendInt(b, s.Score, 10)
		}
		b = append(b, '\n')
	}
	_, err := f.Write(b)
	if err = errors.Join(err, f.Sync()); err != nil {
		return fmt.Errorf("couldn't keep scores: %w", err)
	}
	return nil
}
