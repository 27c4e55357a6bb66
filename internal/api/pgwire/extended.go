package pgwire

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5/pgproto3"

	"sluice.dev/sluice/internal/service/warehouse"
	"sluice.dev/sluice/internal/service/warehouse/wire"
)

// prepared is a statement by name. An empty text has no statement.
type prepared struct {
	sql       string
	statement *warehouse.Statement
	declared  []uint32 // parameter types the client named; 0 where it did not
}

// portal is a bound statement and, once it runs, its rows.
type portal struct {
	prepared *prepared
	args     []wire.Parameter
	formats  []int16
	cursor   *warehouse.Cursor
	done     context.CancelFunc // ends the statement
	finished bool
}

// extended tells the client of a failure of the extended protocol and skips to Sync.
func (c *conn) extended(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*sendError](err); ok {
		return err
	}
	c.skipping = true
	c.session.Fail()
	sql := ""
	if at, ok := errors.AsType[*placed](err); ok {
		sql, err = at.sql, at.error
	}
	c.fail(err, "ERROR", sql, 0)
	return nil
}

// placed carries the text an error's position refers to.
type placed struct {
	error
	sql string
}

func (p *placed) Unwrap() error { return p.error }

func (c *conn) parse(m *pgproto3.Parse) error {
	if m.Name != "" {
		if _, exists := c.statements[m.Name]; exists {
			return duplicateStatement(m.Name)
		}
	}
	if len(c.statements) >= c.server.cfg.MaxStatements {
		return tooManyStatements()
	}
	sql := m.Query
	p := &prepared{sql: sql, declared: append([]uint32(nil), m.ParameterOIDs...)}
	if texts, err := warehouse.Split(sql); err != nil {
		return &placed{err, sql}
	} else if len(texts) > 0 {
		declared := make([]wire.Type, len(p.declared))
		for i, oid := range p.declared {
			var ok bool
			if declared[i], ok = typeOf(oid); !ok {
				return unknownType(oid)
			}
		}
		if p.statement, err = c.session.Prepare(sql, declared); err != nil {
			return &placed{err, sql}
		}
	}
	c.statements[m.Name] = p
	c.be.Send(&pgproto3.ParseComplete{})
	return nil
}

// outline describes a statement while the client is watched.
func (c *conn) outline(p *prepared) ([]wire.Type, []wire.Column, error) {
	ctx, done := c.statement()
	defer done()
	types, columns, err := p.statement.Describe(ctx)
	if err != nil {
		return nil, nil, &placed{err, p.sql}
	}
	return types, columns, nil
}

func (c *conn) bind(m *pgproto3.Bind) error {
	p, ok := c.statements[m.PreparedStatement]
	if !ok {
		return noStatement(m.PreparedStatement)
	}
	if m.DestinationPortal != "" {
		if _, exists := c.portals[m.DestinationPortal]; exists {
			return duplicatePortal(m.DestinationPortal)
		}
	} else {
		c.closePortal("")
	}
	if len(c.portals) >= c.server.cfg.MaxStatements {
		return tooManyStatements()
	}
	portal := &portal{prepared: p, formats: append([]int16(nil), m.ResultFormatCodes...)}
	if p.statement != nil {
		kinds := p.statement.Types()
		if len(m.Parameters) != len(kinds) {
			return wrongParameterCount(len(m.Parameters), m.PreparedStatement, len(kinds))
		}
		for _, k := range kinds {
			if k == wire.Unknown {
				var err error
				if kinds, _, err = c.outline(p); err != nil {
					return err
				}
				break
			}
		}
		for i, value := range m.Parameters {
			v, err := decodeParameter(value, kinds[i], format(m.ParameterFormatCodes, i))
			if err != nil {
				return badParameter(i+1, err)
			}
			portal.args = append(portal.args, v)
		}
	}
	for _, f := range portal.formats {
		if f != 0 && f != 1 {
			return badFormat(f)
		}
	}
	c.portals[m.DestinationPortal] = portal
	c.be.Send(&pgproto3.BindComplete{})
	return nil
}

func (c *conn) describe(m *pgproto3.Describe) error {
	if m.ObjectType == 'P' {
		portal, ok := c.portals[m.Name]
		if !ok {
			return noPortal(m.Name)
		}
		if portal.prepared.statement == nil {
			c.be.Send(&pgproto3.NoData{})
			return nil
		}
		_, columns, err := c.outline(portal.prepared)
		if err != nil {
			return err
		}
		c.sendColumns(columns, portal.formats)
		return nil
	}
	p, ok := c.statements[m.Name]
	if !ok {
		return noStatement(m.Name)
	}
	if p.statement == nil {
		c.be.Send(&pgproto3.ParameterDescription{})
		c.be.Send(&pgproto3.NoData{})
		return nil
	}
	kinds, columns, err := c.outline(p)
	if err != nil {
		return err
	}
	oids := make([]uint32, len(kinds))
	for i, k := range kinds {
		if oids[i] = types[k].oid; i < len(p.declared) && p.declared[i] != 0 {
			oids[i] = p.declared[i]
		}
	}
	c.be.Send(&pgproto3.ParameterDescription{ParameterOIDs: oids})
	c.sendColumns(columns, nil)
	return nil
}

func (c *conn) sendColumns(columns []wire.Column, formats []int16) {
	if columns == nil {
		c.be.Send(&pgproto3.NoData{})
		return
	}
	c.be.Send(rowDescription(columns, formats))
}

func (c *conn) execute(m *pgproto3.Execute) error {
	p, ok := c.portals[m.Portal]
	if !ok {
		return noPortal(m.Portal)
	}
	if p.prepared.statement == nil {
		c.be.Send(&pgproto3.EmptyQueryResponse{})
		return nil
	}
	if p.finished {
		c.finish(p.cursor) // the rows are used up
		return nil
	}
	if p.cursor == nil {
		for _, other := range c.portals {
			if other != p && other.cursor != nil && !other.finished {
				return unsupported("a second portal with rows left to fetch is not supported")
			}
		}
	}
	// The statement outlives this message when the client fetches it in parts, but can be
	// canceled, and its client watched, only while rows are made.
	ctx, done := c.statement()
	defer done()
	if p.cursor == nil {
		var life context.Context
		life, p.done = context.WithCancel(c.ctx)
		unlink := context.AfterFunc(ctx, p.done)
		cursor, err := c.session.Run(life, p.prepared.statement, p.args)
		if !unlink() || err != nil {
			p.done()
		}
		if err != nil {
			return &placed{err, p.prepared.sql}
		}
		p.cursor = cursor
	}
	unlink := context.AfterFunc(ctx, p.done)
	defer unlink()
	more, err := c.rows(p.cursor, p.formats, m.MaxRows)
	if err != nil {
		c.closePortal(m.Portal)
		if _, ok := errors.AsType[*sendError](err); ok {
			return err
		}
		return &placed{err, p.prepared.sql}
	}
	if more {
		c.be.Send(&pgproto3.PortalSuspended{})
		return nil
	}
	p.finished = true
	p.cursor.Close()
	p.done()
	c.finish(p.cursor)
	return nil
}

func (c *conn) close(m *pgproto3.Close) {
	if m.ObjectType == 'S' {
		delete(c.statements, m.Name)
	} else {
		c.closePortal(m.Name)
	}
	c.be.Send(&pgproto3.CloseComplete{})
}

func (c *conn) closePortal(name string) {
	if p, ok := c.portals[name]; ok {
		delete(c.portals, name)
		if p.cursor != nil {
			p.cursor.Close()
			p.done()
		}
	}
}

func (c *conn) closePortals() {
	for name := range c.portals {
		c.closePortal(name)
	}
}
