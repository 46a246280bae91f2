// Package catalog is what the market shows of its products: manuals (数据产品说明书) with their field dictionaries, other
// documents by digest, product versions as the ledger has them, and the search of the shelf.
package catalog

import (
	"sync"

	"github.com/jmoiron/sqlx"
)

// Catalog reads products from proj and keeps documents in app. Its methods are safe for concurrent use; it must not be
// copied.
type Catalog struct {
	DB *sqlx.DB

	tags sync.Map // code int64 → tag
}
