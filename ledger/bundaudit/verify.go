package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
	"github.com/bund-exchange/bund/ledger"
	"github.com/bund-exchange/bund/ledger/evidence"
	"github.com/bund-exchange/bund/ledger/follow"
)

func readTrust(name string) (evidence.Trust, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return evidence.Trust{}, fmt.Errorf("couldn't read trust root: %w", err)
	}
	t, err := follow.ParseTrustRoot(b)
	if err != nil {
		return evidence.Trust{}, fmt.Errorf("couldn't read trust root %s: %w", name, err)
	}
	return evidence.TrustOf(t)
}

var verdictZh = map[evidence.Verdict]string{evidence.Verified: "通过", evidence.Failed: "不通过", evidence.NotCheckable: "无法核验"}

func verify(c *command) error {
	var trust, lang string
	var asJSON bool
	rest, err := c.flags(func(fs *flag.FlagSet) {
		fs.StringVar(&trust, "trust", "", "")
		fs.StringVar(&lang, "lang", "", "")
		fs.BoolVar(&asJSON, "json", false, "")
	}, "trust")
	if err != nil {
		return err
	}
	if len(rest) != 1 {
		return fmt.Errorf("%w: want one folder", errUsage)
	}
	t, err := readTrust(trust)
	if err != nil {
		return err
	}
	told := time.Now()
	r, err := evidence.Audit(c.ctx, evidence.Config{Dir: rest[0], Trust: t, Progress: func(done, total uint64) {
		if time.Since(told) > time.Second {
			told = time.Now()
			fmt.Fprintf(c.errw, "%d / %d\n", done, total)
		}
	}})
	if err != nil {
		return err
	}
	if asJSON {
		e := json.NewEncoder(c.out)
		e.SetIndent("", "  ")
		if err := e.Encode(r); err != nil {
			return err
		}
	} else {
		for _, x := range r.Checks {
			fmt.Fprintln(c.out, line(x, english(lang)))
		}
		fmt.Fprintf(c.out, "state %s\n", r.State)
	}
	if !r.OK() {
		return errFailed
	}
	return nil
}

// line is a check in one line: verdict, name, counts, where, what.
func line(x evidence.Check, en bool) string {
	verdict, name, detail, skipped := verdictZh[x.Verdict]+" "+string(x.Verdict), x.NameZh+" "+x.Name, x.DetailZh, "未核验"
	if en {
		verdict, name, detail, skipped = string(x.Verdict), x.Name, x.Detail, "not checkable"
	} else if x.Detail != "" && x.Detail != x.DetailZh {
		detail += " · " + x.Detail
	}
	s := fmt.Sprintf("%s: %s (%d", verdict, name, x.Count)
	if x.Skipped > 0 {
		s += fmt.Sprintf(", %s %d", skipped, x.Skipped)
	}
	s += ")"
	if x.Where != "" {
		s += " @ " + x.Where
	}
	if detail != "" {
		s += ": " + detail
	}
	if x.Failures > 1 {
		s += fmt.Sprintf(" (+%d)", x.Failures-1)
	}
	return s
}

func prove(c *command) error {
	var trust string
	rest, err := c.flags(func(fs *flag.FlagSet) { fs.StringVar(&trust, "trust", "", "") }, "trust")
	if err != nil {
		return err
	}
	if len(rest) != 1 {
		return fmt.Errorf("%w: want one proof file", errUsage)
	}
	t, err := readTrust(trust)
	if err != nil {
		return err
	}
	b, err := os.ReadFile(rest[0])
	if err != nil {
		return err
	}
	p, err := evidence.OpenProof(t, b)
	if err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(rest[0]), err)
	}
	fmt.Fprintf(c.out, "通过 verified: 条目 entry %d, %s, %s\n日志头 head of %d entries, seen by witnesses at %s\n", p.Position, p.Command.Kind, shanghai(p.Time), p.Head.Size,
		p.SeenAt.UTC().Format(time.RFC3339))
	if x := p.Certificate(); x != nil {
		fmt.Fprintf(c.out, "交易凭证 certificate %s\n  合约 agreement %s\n  结算 settlement %s\n  收据日志 receipt log %s, %d leaves\n  签发 issued %s\n", x.Number, x.Agreement, x.Settlement, x.Root, x.Size, shanghai(x.Issued))
	}
	return nil
}

func shanghai(t contracts.Millis) string {
	return t.Time().In(contracts.Shanghai).Format(time.DateTime)
}

func show(c *command) error {
	rest, err := c.flags(func(*flag.FlagSet) {})
	if err != nil {
		return err
	}
	if len(rest) < 1 || len(rest) > 2 {
		return fmt.Errorf("%w: want a folder and perhaps a position", errUsage)
	}
	only := int64(-1)
	if len(rest) == 2 {
		if only, err = strconv.ParseInt(rest[1], 10, 64); err != nil || only < 0 {
			return fmt.Errorf("%w: %q is no position", errUsage, rest[1])
		}
	}
	f, err := os.Open(filepath.Join(rest[0], evidence.EntriesFile))
	if err != nil {
		return err
	}
	defer f.Close()
	return eachEntry(f, func(position int64, encoded []byte) error {
		if only >= 0 && position != only {
			return nil
		}
		e, err := ledger.DecodeEntry(encoded)
		if err != nil {
			return fmt.Errorf("entry %d: %w", position, err)
		}
		var env contracts.Envelope
		if err := canon.Unmarshal(e.Raw, &env); err != nil {
			return fmt.Errorf("entry %d: command: %w", position, err)
		}
		fmt.Fprintf(c.out, "%d\t%s\t%s\t%s\n", position, shanghai(e.Time), env.Kind, env.Member)
		if only >= 0 {
			fmt.Fprintf(c.out, "%s\n", e.Raw)
			for _, w := range e.Writes {
				fmt.Fprintf(c.out, "  %s = %s\n", w.Key, w.Value)
			}
		}
		return nil
	})
}
