package warehouse

import (
	"context"

	"sluice.dev/sluice/internal/base/store"
	"sluice.dev/sluice/internal/service/warehouse/wire"
)

// prelude is the SQL that gives an engine the functions PostgreSQL and Redshift have.
func prelude(s *Session) string {
	return `CREATE MACRO ` + catalogSchema + `.version() AS 'PostgreSQL ` + ServerVersion + ` on Sluice';
		CREATE MACRO ` + catalogSchema + `.getdate() AS current_timestamp::TIMESTAMP;
		CREATE MACRO ` + catalogSchema + `.nvl(a, b) AS coalesce(a, b);
`
}

// catalogTable returns one of PostgreSQL's catalogue tables as this session may see it.
func (s *Session) catalogTable(ctx context.Context, snapshot *store.Snapshot, schema, name string) (*wire.Table, bool, error) {
	return nil, false, nil
}
