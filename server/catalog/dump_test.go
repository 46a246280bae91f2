package catalog_test

import (
	"bytes"
	"context"

	"github.com/bund-exchange/bund/server/projection"
	"github.com/bund-exchange/bund/server/projection/projectiontest"
)

func dump(m *projectiontest.Market) string {
	var b bytes.Buffer
	m.Must(projection.Dump(context.Background(), m.DB, "proj", &b))
	return b.String()
}
