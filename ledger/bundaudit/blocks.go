package main

import (
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"

	"github.com/bund-exchange/bund/ledger/fabric/blockaudit"
)

// auditBlocks audits exported blocks of a Fabric channel.
func auditBlocks(c *command) error {
	var genesis string
	var asJSON bool
	var cfg blockaudit.Config
	if err := c.parse(func(fs *flag.FlagSet) {
		fs.StringVar(&cfg.Dir, "dir", "", "")
		fs.StringVar(&genesis, "genesis", "", "")
		fs.StringVar(&cfg.Evidence, "evidence", "", "")
		fs.StringVar(&cfg.Names.Market, "market", "market", "")
		fs.StringVar(&cfg.Names.Clearing, "clearing", "clearing", "")
		fs.BoolVar(&asJSON, "json", false, "")
	}, "dir"); err != nil {
		return err
	}
	if err := c.files(0, 0, c.lang.say("flags only", "仅选项")); err != nil {
		return err
	}
	if genesis != "" {
		h, err := hex.DecodeString(genesis)
		if err != nil || len(h) != 32 {
			return &usageError{c.lang.say("--genesis: want 64 hexadecimal digits", "--genesis：应为 64 位十六进制")}
		}
		cfg.Genesis = (*[32]byte)(h)
	}
	cfg.Progress = c.progress(say{"%d of %d blocks\n", "已核 %d / %d 个区块\n"})
	r, err := blockaudit.Audit(c.ctx, cfg)
	if err != nil {
		return err
	}
	if asJSON {
		b, err := json.MarshalIndent(struct {
			OK bool `json:"ok"`
			*blockaudit.Report
		}{r.OK(), r}, "", "  ")
		if err != nil {
			return err
		}
		fmt.Fprintf(c.out, "%s\n", b)
	} else {
		c.blocksReport(r)
	}
	if !r.OK() {
		return errFailed
	}
	return nil
}

func (c *command) blocksReport(r *blockaudit.Report) {
	say := c.lang.say
	fmt.Fprintf(c.out, say("Channel %s: %d blocks, %d transactions, %d of them valid; the config is in block %d\n", "通道 %s：区块 %d，交易 %d，其中有效 %d；配置在区块 %d\n"),
		clean(r.Channel), r.Blocks, r.Transactions, r.Valid, r.Config)
	for _, d := range r.Definitions {
		fmt.Fprintf(c.out, say("Chaincode %s, sequence %d: endorsed by %s\n", "链码 %s，序号 %d：背书策略 %s\n"), clean(d.Name), d.Sequence, clean(d.Policy))
	}
	c.checks(r.Checks)
	fmt.Fprintf(c.out, say("Last block: %s\n", "末块：%s\n"), r.Last)
	if r.LastEntry != "" {
		fmt.Fprintf(c.out, say("Last entry, %d: %s\n", "末条条目 %d：%s\n"), r.Entries-1, r.LastEntry)
	}
	if r.OK() {
		fmt.Fprintln(c.out, say("Nothing failed.", "没有失败项。"))
	} else {
		fmt.Fprintln(c.out, say("FAILED: do not rely on these blocks.", "失败：不可采信这些区块。"))
	}
}
