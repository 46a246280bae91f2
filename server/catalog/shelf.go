package catalog

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/jmoiron/sqlx"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
	"github.com/bund-exchange/bund/contracts/policy"
	"github.com/bund-exchange/bund/server/projection"
)

// Card is what the shelf shows of a version.
type Card struct {
	Version      contracts.ID         `json:"version"`
	Product      contracts.ID         `json:"product"`
	Number       int64                `json:"number"` // of the version
	Provider     contracts.ID         `json:"provider"`
	ProviderName string               `json:"providerName"`
	ProviderEn   string               `json:"providerEn"`
	Title        string               `json:"title"`
	TitleEn      string               `json:"titleEn"`
	Grade        contracts.Grade      `json:"grade"`
	Source       contracts.SourceType `json:"source"`
	CreditInfo   bool                 `json:"creditInfo"`
	Scenarios    []string             `json:"scenarios"`
	Modes        []policy.Operation   `json:"modes"`
	UnitPrice    contracts.MicroYuan  `json:"unitPrice"` // 0 with flatFee 0: 面议
	FlatFee      contracts.Fen        `json:"flatFee"`
	Certificate  string               `json:"certificate"` // registration number
	Manual       contracts.Hash       `json:"manual"`
}

// shelf projects versions onto proj.shelf. It depends only on what never changes (a product's provider, names) and on
// the version's own writes, so that its rows don't depend on where a batch ends.
type shelf struct{}

func (shelf) Of() string { return "version" }

func (shelf) Fold() projection.Fold { return &shelfFold{at: map[string]*shelfRow{}} }

type shelfRow struct {
	id       string
	version  *contracts.Version
	listedAt contracts.Millis // of a listing in this batch, else 0
}

type shelfFold struct {
	at   map[string]*shelfRow
	rows []*shelfRow
}

func (f *shelfFold) Add(w projection.Write) error {
	v, err := contracts.Read[contracts.Version](w.Value)
	if err != nil {
		return fmt.Errorf("couldn't decode the version: %w", err)
	}
	r := f.at[w.ID]
	if r == nil {
		r = &shelfRow{id: w.ID}
		f.at[w.ID] = r
		f.rows = append(f.rows, r)
	}
	r.version = v
	for _, e := range w.Entry.Events {
		if e.Name == "product.listed" && string(e.Object) == w.ID {
			r.listedAt = w.Entry.Time
		}
	}
	return nil
}

func (f *shelfFold) Flush(ctx context.Context, tx *sqlx.Tx) error {
	var on []*shelfRow
	var off, products []string
	for _, r := range f.rows {
		switch r.version.State {
		case contracts.Listed, contracts.ListingSuspended:
			on = append(on, r)
			products = append(products, string(r.version.Product))
		case contracts.Delisted:
			off = append(off, r.id)
		}
	}
	for _, table := range []string{"shelf", "cards"} {
		if len(off) == 0 {
			break
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM proj.`+table+` WHERE version = ANY($1::text[])`, projection.Array(off)); err != nil {
			return fmt.Errorf("couldn't take versions off the shelf: %w", err)
		}
	}
	if len(on) == 0 {
		return nil
	}
	owners, err := readOwners(ctx, tx, products)
	if err != nil {
		return err
	}
	return putOnShelf(ctx, tx, on, owners)
}

type owner struct {
	Product  string       `db:"product"`
	Provider contracts.ID `db:"provider"`
	Name     string       `db:"name"`
	NameEn   string       `db:"name_en"`
}

func readOwners(ctx context.Context, tx *sqlx.Tx, products []string) (map[contracts.ID]owner, error) {
	var rows []owner
	const read = `
SELECT p.id AS product, p.provider, m.name, m.name_en
  FROM proj.products p JOIN proj.members m ON m.id = p.provider
 WHERE p.id = ANY($1::text[])`
	if err := tx.SelectContext(ctx, &rows, read, projection.Array(products)); err != nil {
		return nil, fmt.Errorf("couldn't read the products' providers: %w", err)
	}
	owners := map[contracts.ID]owner{}
	for _, o := range rows {
		owners[contracts.ID(o.Product)] = o
	}
	return owners, nil
}

func putOnShelf(ctx context.Context, tx *sqlx.Tx, rows []*shelfRow, owners map[contracts.ID]owner) error {
	var version, product, listed, listedAt, haystack, terms, facets, cards []string
	known := map[tag]bool{}
	var code, facet, value []string
	for _, r := range rows {
		v := r.version
		o, ok := owners[v.Product]
		if !ok {
			return fmt.Errorf("couldn't put version %s on the shelf: its product has no provider", r.id)
		}
		words, tags := wordsOf(v, o), tagsOf(&v.Facts, o.Provider)
		var own []string
		for _, t := range tags {
			own = append(own, t.term())
			if !known[t] {
				known[t] = true
				code, facet, value = append(code, strconv.FormatInt(codeOf(t.term()), 10)), append(facet, string(t.facet)), append(value, t.value)
			}
		}
		version = append(version, r.id)
		product = append(product, string(v.Product))
		listed = append(listed, strconv.FormatBool(v.State == contracts.Listed))
		listedAt = append(listedAt, strconv.FormatInt(int64(r.listedAt), 10))
		haystack = append(haystack, haystackOf(words))
		terms = append(terms, codes(append(termsOf(words), tagTerms(tags)...)))
		facets = append(facets, codes(own))
		cards = append(cards, string(canon.Marshal(cardOf(r.id, v, o))))
	}
	// A version is listed once; suspension, resumption and new prices leave it where it stands.
	shelf := projection.Upsert{Table: "proj.shelf", Key: "version", Set: map[string]string{
		"listed_at": "CASE WHEN EXCLUDED.listed_at = 0 THEN old.listed_at ELSE EXCLUDED.listed_at END"}}
	shelf.Add("version", "text", version)
	shelf.Add("listed", "boolean", listed)
	shelf.Add("listed_at", "bigint", listedAt)
	shelf.Add("terms", "bigint[]", terms)
	shelf.Add("facets", "bigint[]", facets)
	if err := shelf.Exec(ctx, tx); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, `SELECT gin_clean_pending_list('proj.shelf_terms')`); err != nil {
		return fmt.Errorf("couldn't bring the shelf's index up to date: %w", err)
	}
	shown := projection.Upsert{Table: "proj.cards", Key: "version"}
	shown.Add("version", "text", version)
	shown.Add("product", "text", product)
	shown.Add("haystack", "text", haystack)
	shown.Add("card", "text", cards)
	if err := shown.Exec(ctx, tx); err != nil {
		return err
	}
	named := projection.Upsert{Table: "proj.facets", Key: "code"}
	named.Add("code", "bigint", code)
	named.Add("facet", "text", facet)
	named.Add("value", "text", value)
	return named.Exec(ctx, tx)
}

func cardOf(id string, v *contracts.Version, o owner) Card {
	f := &v.Facts
	return Card{Version: contracts.ID(id), Product: v.Product, Number: v.Number, Provider: o.Provider, ProviderName: o.Name, ProviderEn: o.NameEn,
		Title: f.Title, TitleEn: f.TitleEn, Grade: f.Grade, Source: f.Source, CreditInfo: f.CreditInfo, Scenarios: f.Scenarios, Modes: f.Modes,
		UnitPrice: f.UnitPrice, FlatFee: f.FlatFee, Certificate: v.Certificate, Manual: f.Manual}
}

// wordsOf are the words that a version is found by.
func wordsOf(v *contracts.Version, o owner) []run {
	f := &v.Facts
	var rs []run
	for _, text := range append([]string{f.Title, f.TitleEn, o.Name, o.NameEn, v.Certificate}, append(slices.Clone(f.DataGroups), f.Fields...)...) {
		rs = append(rs, runs(text)...)
	}
	return rs
}
