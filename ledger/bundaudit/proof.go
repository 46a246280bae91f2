package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/ledger/evidence"
)

// proof verifies proof files.
func proof(c *command) error {
	var trust string
	var asJSON bool
	if err := c.parse(func(fs *flag.FlagSet) {
		fs.StringVar(&trust, "trust", "", "")
		fs.BoolVar(&asJSON, "json", false, "")
	}, "trust"); err != nil {
		return err
	}
	if err := c.files(1, 1<<16, "FILE"+evidence.ProofSuffix); err != nil {
		return err
	}
	root, err := trustFrom(trust)
	if err != nil {
		return err
	}
	var proven []*evidence.Proven
	var out []provenJSON
	failed := false
	for _, name := range c.params {
		b, err := os.ReadFile(name)
		if err != nil {
			return fmt.Errorf("couldn't read the proof: %w", err)
		}
		p, err := evidence.OpenProof(root, b)
		if err != nil {
			failed = true
			out = append(out, provenJSON{File: name, Error: err.Error()})
			if !asJSON {
				fmt.Fprintln(c.out, clean(fmt.Sprintf(c.lang.say("FAILED  %s: %v", "失败  %s：%v"), name, err)))
			}
			continue
		}
		proven = append(proven, p)
		out = append(out, jsonOf(name, p))
		if !asJSON {
			c.printProven(name, p)
		}
	}
	for _, p := range proven {
		if p.Certificate() == nil {
			continue
		}
		borne, err := evidence.CheckTrade(p, proven)
		for i := range out {
			if out[i].Position == p.Position && out[i].Certificate != nil {
				if out[i].BorneOut = borne; err != nil {
					out[i].Error = err.Error()
				}
			}
		}
		failed = failed || err != nil
		if !asJSON {
			c.printTrade(p, borne, err)
		}
	}
	if asJSON {
		b, err := json.MarshalIndent(struct {
			OK     bool         `json:"ok"`
			Proofs []provenJSON `json:"proofs"`
		}{!failed, out}, "", "  ")
		if err != nil {
			return err
		}
		fmt.Fprintf(c.out, "%s\n", b)
	}
	if failed {
		return errFailed
	}
	return nil
}

type provenJSON struct {
	File        string                 `json:"file"`
	Error       string                 `json:"error,omitempty"`
	Position    uint64                 `json:"position"`
	Time        contracts.Millis       `json:"time,omitempty"`
	Kind        string                 `json:"kind,omitempty"`
	Member      string                 `json:"member,omitempty"`
	Command     json.RawMessage        `json:"command,omitempty"`
	Head        uint64                 `json:"head,omitempty"`
	SeenAt      *time.Time             `json:"seenAt,omitempty"`
	Certificate *contracts.Certificate `json:"certificate,omitempty"`
	BorneOut    []string               `json:"borneOut,omitempty"`
}

func jsonOf(name string, p *evidence.Proven) provenJSON {
	return provenJSON{File: name, Position: p.Position, Time: p.Time, Kind: p.Command.Kind, Member: p.Command.Member, Command: json.RawMessage(p.Raw),
		Head: p.Head.Size, SeenAt: &p.SeenAt, Certificate: p.Certificate()}
}

func (c *command) printProven(name string, p *evidence.Proven) {
	say := c.lang.say
	var b strings.Builder
	fmt.Fprintf(&b, say("verified  %s\n", "已验证  %s\n"), name)
	fmt.Fprintf(&b, say("  entry %d of %d at the head, %s, under rulebook %d\n", "  第 %d 条（日志头共 %d 条），%s，规则第 %d 版\n"), p.Position, p.Head.Size, when(p.Time), p.Rulebook)
	var seen []string
	for _, s := range p.Head.Cosignatures {
		seen = append(seen, s.Witness)
	}
	fmt.Fprintf(&b, say("  witnesses %s; a quorum had seen it at %s\n", "  见证人 %s；达到法定数的时间 %s\n"), strings.Join(seen, ", "), p.SeenAt.In(contracts.Shanghai).Format("2006-01-02 15:04:05 +08:00"))
	fmt.Fprintf(&b, say("  command %s by member %s, %d signatures\n", "  命令 %s，会员 %s，签名 %d 个\n"), p.Command.Kind, member(p.Command), len(p.Signatures))
	if cert := p.Certificate(); cert != nil {
		fmt.Fprintf(&b, say("  trade certificate %s\n", "  交易凭证 %s\n"), cert.Number)
		for _, f := range []struct{ en, zh, value string }{
			{"agreement", "协议", string(cert.Agreement)}, {"contract digest", "合同摘要", string(cert.Digest)}, {"settlement", "结算编号", cert.Settlement},
			{"receipt log root", "回执日志根", string(cert.Root)}, {"receipt log size", "回执条数", fmt.Sprint(cert.Size)}, {"issued", "签发时间", when(cert.Issued)},
		} {
			fmt.Fprintf(&b, "    %s %s\n", pad(say(f.en, f.zh), 17), f.value)
		}
	} else {
		fmt.Fprintf(&b, "%s\n", indent(p.Command.Envelope.Body, "    "))
	}
	fmt.Fprint(c.out, clean(b.String()))
}

func (c *command) printTrade(p *evidence.Proven, borne []string, err error) {
	number := p.Certificate().Number
	switch {
	case err != nil:
		fmt.Fprintln(c.out, clean(fmt.Sprintf(c.lang.say("FAILED  %s: %v", "失败  %s：%v"), number, err)))
	case len(borne) > 0:
		fmt.Fprintln(c.out, clean(fmt.Sprintf(c.lang.say("%s is borne out by the proofs of its %s", "凭证 %s 得到下列条目佐证：%s"), number, strings.Join(borne, ", "))))
	}
}

func member(c *contracts.Command) string {
	if c.Member == "" {
		return "-"
	}
	return c.Member
}
