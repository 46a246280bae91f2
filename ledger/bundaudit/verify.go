package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/ledger/evidence"
	"github.com/bund-exchange/bund/ledger/follow"
)

func trustFrom(name string) (evidence.Trust, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return evidence.Trust{}, fmt.Errorf("couldn't read the trust root: %w", err)
	}
	root, err := follow.ParseTrustRoot(b)
	if err != nil {
		return evidence.Trust{}, fmt.Errorf("couldn't read the trust root %s: %w", name, err)
	}
	return evidence.TrustOf(root)
}

// verify audits an export.
func verify(c *command) error {
	var trust string
	var asJSON bool
	var seen list
	if err := c.parse(func(fs *flag.FlagSet) {
		fs.StringVar(&trust, "trust", "", "")
		fs.BoolVar(&asJSON, "json", false, "")
		fs.Var(&seen, "seen", "")
	}, "trust"); err != nil {
		return err
	}
	if err := c.files(1, 1, "DIR"); err != nil {
		return err
	}
	cfg := evidence.Config{Dir: c.params[0], Progress: c.progress(say{"%d of %d entries\n", "已核 %d / %d 条\n"})}
	var err error
	if cfg.Trust, err = trustFrom(trust); err != nil {
		return err
	}
	for _, name := range seen {
		b, err := os.ReadFile(name)
		if err != nil {
			return fmt.Errorf("couldn't read the checkpoint: %w", err)
		}
		cfg.Seen = append(cfg.Seen, b)
	}
	r, err := evidence.Audit(c.ctx, cfg)
	if err != nil {
		return err
	}
	if asJSON {
		b, err := json.MarshalIndent(struct {
			OK bool `json:"ok"`
			*evidence.Report
		}{r.OK(), r}, "", "  ")
		if err != nil {
			return err
		}
		fmt.Fprintf(c.out, "%s\n", b)
	} else {
		c.report(r)
	}
	if !r.OK() {
		return errFailed
	}
	return nil
}

// say is one sentence in both languages.
type say struct{ en, zh string }

// progress says once a second how far it is, from the second second on.
func (c *command) progress(what say) func(done, total uint64) {
	last := time.Now()
	return func(done, total uint64) {
		if now := time.Now(); now.Sub(last) >= time.Second {
			last = now
			fmt.Fprintf(c.err, c.lang.say(what.en, what.zh), done, max(done, total))
		}
	}
}

func (c *command) report(r *evidence.Report) {
	say := c.lang.say
	if m := r.Manifest; m != nil {
		fmt.Fprintf(c.out, say("Ledger %s: %d entries, %d openings; exported %s for %s: %s\n", "账本 %s：条目 %d，私密值 %d；%s 导出，申请方 %s，事由 %s\n"),
			clean(m.Ledger), m.Entries, m.Openings, when(m.Made), clean(m.Requester), clean(m.Reason))
	}
	c.checks(r.Checks)
	fmt.Fprintf(c.out, say("State at the end: %s\n", "期末状态：%s\n"), r.State)
	if r.OK() {
		fmt.Fprintln(c.out, say("Nothing failed.", "没有失败项。"))
	} else {
		fmt.Fprintln(c.out, say("FAILED: do not rely on this export.", "失败：不可采信此证据。"))
	}
}

// checks prints one line for each check.
func (c *command) checks(checks []evidence.Check) {
	say := c.lang.say
	for _, k := range checks {
		verdict, name, detail := string(k.Verdict), k.Name, k.Detail
		if c.lang == "zh" {
			verdict, name, detail = map[evidence.Verdict]string{evidence.Verified: "已验证", evidence.Failed: "失败", evidence.NotCheckable: "不可核"}[k.Verdict], k.NameZh, k.DetailZh
		}
		line := pad(verdict, 14) + " " + pad(name, 22) + " "
		switch k.Verdict {
		case evidence.Verified:
			line += fmt.Sprint(k.Count)
		case evidence.NotCheckable:
			line += fmt.Sprintf(say("%d verified, %d not", "已验证 %d，未能 %d"), k.Count, k.Skipped)
		case evidence.Failed:
			line += k.Where
		}
		if detail != "" {
			line += say(": ", "：") + detail
		}
		if k.Verdict == evidence.Failed && k.Failures > 1 {
			line += fmt.Sprintf(say(" (and %d more)", "（另有 %d 处）"), k.Failures-1)
		}
		fmt.Fprintln(c.out, clean(line))
	}
}

// when is a time for people, in the market's civil time.
func when(m contracts.Millis) string {
	return m.Time().In(contracts.Shanghai).Format("2006-01-02 15:04:05 +08:00")
}
