// Package polish is the sample market's honest data: financial ratios of Polish companies and who of them went bankrupt
// (ATTRIBUTION.md), split by column between a bank and a provider. Ratios and outcomes are real; the credit codes that
// join the two halves are synthetic.
package polish

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	_ "embed"
	"encoding/csv"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/bund-exchange/bund/contracts"
)

//go:embed 5year.arff.gz
var fifthYear []byte

// Attribution has to stand beside whatever shows figures from this data.
//
//go:embed ATTRIBUTION.md
var Attribution string

// The figures of the data set after cleaning. Companies checks them.
const (
	Statements = 5910
	Count      = 5850 // companies, after repeated rows are removed
	Bankrupt   = 408  // 6.97 %
	ratios     = 64
)

// Columns by owner, as numbers of the data set's ratios X1–X64. Left out are 21, 27, 37, 45, 60 and 64, whose gaps tell
// the outcome.
var (
	// BankColumns are pure balance-sheet ratios, which a bank has from a statement that it is shown.
	BankColumns = []int{2, 3, 4, 6, 8, 10, 17, 25, 28, 29, 38, 40, 46, 50, 51, 53, 54, 55, 59}
	// ProviderColumns need the profit and loss account or turnover, as tax data has them.
	ProviderColumns = []int{1, 5, 7, 9, 11, 12, 13, 14, 15, 16, 18, 19, 20, 22, 23, 24, 26, 30, 31, 32, 33, 34, 35, 36, 39,
		41, 42, 43, 44, 47, 48, 49, 52, 56, 57, 58, 61, 62, 63}
)

// Name is a column's field name.
func Name(column int) string { return fmt.Sprintf("x%d", column) }

// Names are the columns' field names.
func Names(columns []int) []string {
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = Name(c)
	}
	return names
}

// Company is one row with both halves. Only the loader and tests see it whole.
type Company struct {
	Code     contracts.CreditCode
	Bankrupt bool
	ratio    [ratios + 1]Micro // by number
}

// Ratio gives the value of X1–X64, gaps filled.
func (c *Company) Ratio(column int) Micro { return c.ratio[column] }

// BankHalf gives the companies as the bank has them: its own ratios and the outcomes. The provider's ratios are gone from
// it, so whoever is given only this can have them from nowhere but the provider.
func BankHalf(companies []Company) []Company {
	half := make([]Company, len(companies))
	for i := range companies {
		half[i].Code, half[i].Bankrupt = companies[i].Code, companies[i].Bankrupt
		for _, column := range BankColumns {
			half[i].ratio[column] = companies[i].ratio[column]
		}
	}
	return half
}

// firstCode keeps these codes apart from those of other synthetic companies.
const firstCode = 0x50_000000

// Companies reads the data set: 5,850 companies in the order of their credit codes. Codes are dealt in the order of the
// rows' hashes, since the file has the bankrupt ones last.
func Companies() ([]Company, error) {
	z, err := gzip.NewReader(bytes.NewReader(fifthYear))
	if err != nil {
		return nil, fmt.Errorf("couldn't read bankruptcy data: %w", err)
	}
	rel, err := parseARFF(z, isNameLine)
	if err != nil {
		return nil, err
	}
	rows, err := distinct(rel)
	if err != nil {
		return nil, err
	}
	companies := make([]Company, len(rows))
	for i, row := range rows {
		companies[i].Code = contracts.SyntheticCreditCode(firstCode + uint32(i))
		companies[i].Bankrupt = row[ratios] == "1"
	}
	for column := 1; column <= ratios; column++ {
		fill(companies, rows, column)
	}
	return companies, nil
}

// isNameLine knows the one line of this file that is no row.
func isNameLine(line string) bool {
	return strings.HasPrefix(line, "1 net profit / total assets, 2 total liabilities / total assets, ") && strings.HasSuffix(line, ", Quiebra")
}

// distinct removes repeated rows, orders the rest by hash and checks that this is the data set that we know.
func distinct(rel *relation) ([][]string, error) {
	if len(rel.attributes) != ratios+1 || len(rel.rows) != Statements {
		return nil, fmt.Errorf("bankruptcy data has %d attributes and %d rows, want %d and %d", len(rel.attributes), len(rel.rows), ratios+1, Statements)
	}
	type hashed struct {
		row  []string
		hash [32]byte
	}
	seen, rows, bankrupt := map[[32]byte]bool{}, []hashed{}, 0
	for _, row := range rel.rows {
		// The values are written in one way each (checked by a test), so equal rows are equal texts. The outcome stays
		// out of the hash: it may not show in the code.
		h := sha256.Sum256([]byte(strings.Join(row[:ratios], ",")))
		if seen[h] {
			continue
		}
		seen[h] = true
		rows = append(rows, hashed{row, h})
		if row[ratios] == "1" {
			bankrupt++
		}
	}
	if len(rows) != Count || bankrupt != Bankrupt {
		return nil, fmt.Errorf("bankruptcy data has %d companies, %d bankrupt, want %d and %d", len(rows), bankrupt, Count, Bankrupt)
	}
	slices.SortFunc(rows, func(a, b hashed) int { return bytes.Compare(a.hash[:], b.hash[:]) })
	out := make([][]string, len(rows))
	for i := range rows {
		out[i] = rows[i].row
	}
	return out, nil
}

// fill reads one column and puts its median, the lower of the two middle values, into its gaps.
func fill(companies []Company, rows [][]string, column int) {
	var known []Micro
	for i, row := range rows {
		if v := row[column-1]; v != gap {
			companies[i].ratio[column], _ = ParseMicro(v) // parsed before, by parseARFF
			known = append(known, companies[i].ratio[column])
		}
	}
	slices.Sort(known)
	median := known[(len(known)-1)/2]
	for i, row := range rows {
		if row[column-1] == gap {
			companies[i].ratio[column] = median
		}
	}
}

// WriteProvider writes the provider's half as CSV: code and its 39 ratios. ProviderDictionary describes it.
func WriteProvider(w io.Writer, companies []Company) error {
	return writeCSV(w, companies, ProviderColumns, nil)
}

// WriteBank writes the bank's half as CSV: code, its 19 ratios and, as bankrupt, the outcome, which only the bank has.
func WriteBank(w io.Writer, companies []Company) error {
	return writeCSV(w, companies, BankColumns, func(c *Company) string {
		if c.Bankrupt {
			return "1"
		}
		return "0"
	})
}

func writeCSV(w io.Writer, companies []Company, columns []int, outcome func(*Company) string) error {
	out := csv.NewWriter(w)
	header := append([]string{"code"}, Names(columns)...)
	if outcome != nil {
		header = append(header, "bankrupt")
	}
	out.Write(header)
	for i := range companies {
		record := []string{string(companies[i].Code)}
		for _, column := range columns {
			record = append(record, companies[i].ratio[column].String())
		}
		if outcome != nil {
			record = append(record, outcome(&companies[i]))
		}
		out.Write(record)
	}
	out.Flush()
	if err := out.Error(); err != nil { // csv.Writer keeps the first error
		return fmt.Errorf("couldn't write bankruptcy data: %w", err)
	}
	return nil
}
