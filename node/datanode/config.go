package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/bund-exchange/bund/contracts"
)

// Config is a data node's file. Unknown keys are fatal. Paths are relative to the file.
type Config struct {
	// Dir holds everything the node must not lose: followed state, datasets, receipts, keys. Back it up as one.
	Dir string `yaml:"dir"`

	// TrustRoot is the file obtained out of band from venue and regulator: ledger id, genesis, log and witness keys.
	TrustRoot string `yaml:"trustRoot"`
	// Market is the market's address, https://… or, on loopback, http://….
	Market string `yaml:"market"`
	// Credentials is a file with the machine's sign-in, "client-id:secret", readable by the owner only.
	Credentials string `yaml:"credentials"`

	Member contracts.ID `yaml:"member"` // whose node this is
	Node   contracts.ID `yaml:"node"`   // the node's id on the ledger
	// RegisteredAt is the ledger position of the node's registration: the fencing token of its receipts.
	RegisteredAt int64 `yaml:"registeredAt"`

	// Listen is where other nodes call this one, over TLS. Empty: the node only consumes.
	Listen string `yaml:"listen"`
	// Local is where this member's own systems call the node, on loopback, with the token in <dir>/local.token.
	Local string `yaml:"local"`

	// Datasets says which dataset of the vault answers for which product.
	Datasets []DatasetConfig `yaml:"datasets"`

	// Postgres, where there is one, holds copies of the datasets' snapshots and answers lookups instead of their files;
	// datanode import can read its tables.
	Postgres *PostgresConfig `yaml:"postgres"`

	// StatisticsEpsilonMicro bounds, in millionths, the privacy loss of all results that this node collects of one joint
	// statistic; 10000000 when empty.
	StatisticsEpsilonMicro int64 `yaml:"statisticsEpsilonMicro"`

	// ReportEvery is how often acknowledged use is reported to the ledger between period ends; 10m when empty.
	ReportEvery string `yaml:"reportEvery"`
	// PollEvery bounds the wait between looks at the ledger's head; 2s when empty.
	PollEvery string `yaml:"pollEvery"`

	report, poll time.Duration
}

// DatasetConfig maps a product to a dataset.
type DatasetConfig struct {
	Product contracts.ID `yaml:"product"`
	Dataset string       `yaml:"dataset"`

	// Compute, where it stands, lets queries run on the dataset, within a privacy budget that all its consumers share. A
	// dataset of several products has it once.
	Compute *ComputeConfig `yaml:"compute"`
}

// ComputeConfig is a dataset's privacy budget and what bounds a query. See docs/privacy/compute.md before choosing.
type ComputeConfig struct {
	// Epoch numbers the period of the budget: a higher number begins a new one with nothing spent, nothing else does.
	Epoch int64 `yaml:"epoch"`
	// Epsilon and Delta are the period's budget, quoted decimals: "10" and "0.000001". Within an epoch they may be
	// lowered, not raised.
	Epsilon string `yaml:"epsilon"`
	Delta   string `yaml:"delta"`
	// QueryDelta is what each query takes of Delta; "0.000000001" when empty.
	QueryDelta string `yaml:"queryDelta"`
	// MaxQueries is how many different questions the period has; 256 when empty.
	MaxQueries int64 `yaml:"maxQueries"`
	// RowsPerSubject is how many rows of one subject count, its newest; 1 when empty. Noise grows with it.
	RowsPerSubject int64 `yaml:"rowsPerSubject"`
	// MinimumCohort is the least number of subjects behind a figure, whatever a policy allows; 10 when empty.
	MinimumCohort int64 `yaml:"minimumCohort"`
}

// PostgresConfig says which PostgreSQL the node uses, 14 or newer. Its role needs to read the tables that are imported,
// and to create the schema bund_vault or own it.
type PostgresConfig struct {
	// DSNFile is a file with the connection, postgres://… or key=value, readable by the owner only.
	DSNFile string `yaml:"dsnFile"`
}

// ReadConfig reads and completes a file.
func ReadConfig(name string) (*Config, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("couldn't read configuration: %w", err)
	}
	c := new(Config)
	d := yaml.NewDecoder(bytes.NewReader(b))
	d.KnownFields(true)
	if err := d.Decode(c); err != nil {
		return nil, fmt.Errorf("couldn't read configuration %s: %w", name, err)
	}
	if err := d.Decode(new(any)); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("couldn't read configuration %s: want one YAML document", name)
	}
	base := filepath.Dir(name)
	paths := []*string{&c.Dir, &c.TrustRoot, &c.Credentials}
	if c.Postgres != nil {
		paths = append(paths, &c.Postgres.DSNFile)
	}
	for _, p := range paths {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(base, *p)
		}
	}
	if err := c.complete(); err != nil {
		return nil, fmt.Errorf("configuration %s: %w", name, err)
	}
	return c, nil
}

func (c *Config) complete() error {
	for _, m := range []struct{ name, value string }{{"dir", c.Dir}, {"trustRoot", c.TrustRoot}, {"market", c.Market}, {"credentials", c.Credentials}, {"local", c.Local}} {
		if m.value == "" {
			return fmt.Errorf("%s is missing", m.name)
		}
	}
	for _, m := range []struct {
		name string
		err  error
	}{{"member", c.Member.Check()}, {"node", c.Node.Check()}, {"market", checkMarket(c.Market)}, {"local", checkLoopback(c.Local)}} {
		if m.err != nil {
			return fmt.Errorf("%s: %w", m.name, m.err)
		}
	}
	products, computed := map[contracts.ID]bool{}, map[string]bool{}
	for i, d := range c.Datasets {
		if err := d.Product.Check(); err != nil {
			return fmt.Errorf("datasets.%d.product: %w", i, err)
		}
		if d.Dataset == "" {
			return fmt.Errorf("datasets.%d.dataset is missing", i)
		}
		if products[d.Product] {
			return fmt.Errorf("datasets.%d.product is there twice", i)
		}
		products[d.Product] = true
		if d.Compute == nil {
			continue
		}
		if computed[d.Dataset] {
			return fmt.Errorf("datasets.%d.compute: dataset %s has its budget already", i, d.Dataset)
		}
		computed[d.Dataset] = true
	}
	if c.Postgres != nil && c.Postgres.DSNFile == "" {
		return errors.New("postgres.dsnFile is missing")
	}
	if c.StatisticsEpsilonMicro == 0 {
		c.StatisticsEpsilonMicro = 10_000_000
	}
	if c.StatisticsEpsilonMicro < 0 {
		return errors.New("statisticsEpsilonMicro is 1 at least")
	}
	if c.RegisteredAt < 1 {
		return errors.New("registeredAt is the position of the node's registration")
	}
	var err error
	if c.report, err = duration(c.ReportEvery, 10*time.Minute); err != nil {
		return fmt.Errorf("reportEvery: %w", err)
	}
	if c.poll, err = duration(c.PollEvery, 2*time.Second); err != nil {
		return fmt.Errorf("pollEvery: %w", err)
	}
	return nil
}

// checkMarket refuses an address over which the node's secret would go in the clear.
func checkMarket(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return errors.New("want https://host[:port]")
	}
	if u.Scheme == "https" || u.Scheme == "http" && checkLoopback(u.Host) == nil {
		return nil
	}
	return errors.New("want https://…; http:// only on loopback")
}

func checkLoopback(hostport string) error {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = hostport
	}
	if ip := net.ParseIP(host); host == "localhost" || ip != nil && ip.IsLoopback() {
		return nil
	}
	return errors.New("want a loopback address")
}

func duration(s string, def time.Duration) (time.Duration, error) {
	if s == "" {
		return def, nil
	}
	d, err := time.ParseDuration(s)
	if err == nil && d <= 0 {
		err = errors.New("want a time above zero")
	}
	return d, err
}
