package main

import (
	"encoding/csv"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/policy"
)

// lookupCommand is datanode lookup build, fetch, ask and history. All ask the running node.
func lookupCommand(c *command) error {
	verbs := map[string]func(*command) error{"build": lookupBuild, "fetch": lookupFetch, "ask": lookupAsk, "history": lookupHistory}
	if len(c.args) == 0 || verbs[c.args[0]] == nil {
		return &usageError{"want lookup build, fetch, ask or history"}
	}
	verb := verbs[c.args[0]]
	c.args = c.args[1:]
	return verb(c)
}

// stateOfWork is how far the node has come with something long.
type stateOfWork struct {
	State string `json:"state"`
	Rows  int64  `json:"rows"`
	Have  int64  `json:"have"`
	Of    int64  `json:"of"`
}

// watch asks until what the node does is done, and writes how far it has come.
func (c *command) watch(file, method, path string, body any, done, what string) error {
	last := ""
	for {
		var p stateOfWork
		if err := c.get(file, method, path, body, &p); err != nil {
			return err
		}
		if p.State == done {
			return c.ask(file, method, path, body)
		}
		if line := fmt.Sprintf("%s: %d / %d", what, max(p.Rows, p.Have), p.Of); line != last {
			fmt.Fprintln(c.err, line)
			last = line
		}
		rest(c.ctx, 500*time.Millisecond)
		if err := c.ctx.Err(); err != nil {
			return err
		}
	}
}

func lookupBuild(c *command) error {
	var file, version, service string
	var cohort int64
	if err := c.flags(func(fs *flag.FlagSet) {
		fs.StringVar(&file, "config", "", "")
		fs.StringVar(&version, "version", "", "")
		fs.Int64Var(&cohort, "cohort", 0, "")
		fs.StringVar(&service, "consent-node", "", "")
	}, "config", "version"); err != nil {
		return err
	}
	q := buildRequest{contracts.ID(version), cohort, contracts.ID(service)}
	if err := c.get(file, http.MethodPost, "/v1/lookup-tables", q, new(any)); err != nil {
		return err
	}
	return c.watch(file, http.MethodGet, "/v1/lookup-tables/"+version, nil, "committed", "已封存行数 · rows sealed")
}

func lookupFetch(c *command) error {
	var file, agreement string
	if err := c.flags(func(fs *flag.FlagSet) {
		fs.StringVar(&file, "config", "", "")
		fs.StringVar(&agreement, "agreement", "", "")
	}, "config", "agreement"); err != nil {
		return err
	}
	return c.watch(file, http.MethodPost, "/v1/lookup-tables/fetch", map[string]string{"agreement": agreement}, "fetched", "已取字节 · bytes fetched")
}

func lookupAsk(c *command) error {
	var file, subjects, consents string
	var q localLookup
	if err := c.flags(func(fs *flag.FlagSet) {
		fs.StringVar(&file, "config", "", "")
		fs.StringVar((*string)(&q.Agreement), "agreement", "", "")
		fs.StringVar((*string)(&q.Purpose), "purpose", "", "")
		fs.StringVar(&subjects, "subjects", "", "")
		fs.StringVar(&consents, "consents", "", "")
		fs.BoolVar(&q.Buckets, "buckets", false, "")
		fs.StringVar(&q.Nonce, "nonce", "", "")
	}, "config", "agreement", "purpose"); err != nil {
		return err
	}
	if (subjects == "") == (consents == "") {
		return &usageError{"want --subjects or --consents"}
	}
	q.Operation = policy.PrivateLookup
	if consents != "" {
		q.Operation = policy.ConsentLookup
	}
	lines, err := companyLines(subjects + consents)
	if err != nil {
		return err
	}
	for i, l := range lines {
		switch {
		case consents == "":
			q.Subjects = append(q.Subjects, contracts.CreditCode(l[0]))
		case len(l) == 3:
			q.Consents = append(q.Consents, localHeldConsent{contracts.CreditCode(l[0]), contracts.ID(l[1]), l[2]})
		default:
			return fmt.Errorf("line %d: want code,consent,consent key", i+1)
		}
	}
	return c.ask(file, http.MethodPost, "/v1/lookups", q)
}

// companyLines reads a file with a company on each line, or companies given as they are.
func companyLines(s string) ([][]string, error) {
	f, err := os.Open(s)
	if errors.Is(err, os.ErrNotExist) {
		var lines [][]string
		for code := range strings.SplitSeq(s, ",") {
			if contracts.CreditCode(code).Check() != nil {
				return nil, fmt.Errorf("%s is neither a file nor credit codes", s)
			}
			lines = append(lines, []string{code})
		}
		return lines, nil
	}
	if err != nil {
		return nil, fmt.Errorf("couldn't read companies: %w", err)
	}
	defer f.Close()
	r := csv.NewReader(f)
	r.FieldsPerRecord, r.TrimLeadingSpace = -1, true
	lines, err := r.ReadAll()
	if err != nil {
		return nil, fmt.Errorf("couldn't read companies: %w", err)
	}
	return lines, nil
}

func lookupHistory(c *command) error {
	var file, subject string
	if err := c.flags(func(fs *flag.FlagSet) {
		fs.StringVar(&file, "config", "", "")
		fs.StringVar(&subject, "subject", "", "")
	}, "config", "subject"); err != nil {
		return err
	}
	return c.ask(file, http.MethodPost, "/v1/company-histories", map[string]string{"subject": subject})
}
