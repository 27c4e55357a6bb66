package lua

import (
	"errors"

	"github.com/yuin/gopher-lua/ast"
)

// concatName is the global that joins strings: no code can name it.
const concatName = "(..)"

// maxDepth bounds how deeply source may nest, and with it the compiler's recursion.
const maxDepth = 200

var errDeep = errors.New("the code nests too deeply")

// harden replaces the operator that joins strings by a function that bounds the result: a
// few doublings of a string would take all memory, faster than any watchdog looks.
func harden(chunk []ast.Stmt) error {
	h := &hardener{}
	h.block(chunk)
	return h.err
}

type hardener struct {
	depth int
	err   error
}

// enter reports whether to go on inwards; leave must follow where it does.
func (h *hardener) enter() bool {
	if h.depth >= maxDepth {
		h.err = errDeep
	}
	h.depth++
	return h.err == nil
}

func (h *hardener) leave() { h.depth-- }

func (h *hardener) block(stmts []ast.Stmt) {
	if h.enter() {
		for _, s := range stmts {
			h.stmt(s)
		}
	}
	h.leave()
}

func (h *hardener) stmt(s ast.Stmt) {
	switch s := s.(type) {
	case *ast.AssignStmt:
		h.exprs(s.Lhs)
		h.exprs(s.Rhs)
	case *ast.LocalAssignStmt:
		h.exprs(s.Exprs)
	case *ast.FuncCallStmt:
		s.Expr = h.expr(s.Expr)
	case *ast.DoBlockStmt:
		h.block(s.Stmts)
	case *ast.WhileStmt:
		s.Condition = h.expr(s.Condition)
		h.block(s.Stmts)
	case *ast.RepeatStmt:
		s.Condition = h.expr(s.Condition)
		h.block(s.Stmts)
	case *ast.IfStmt:
		s.Condition = h.expr(s.Condition)
		h.block(s.Then)
		h.block(s.Else)
	case *ast.NumberForStmt:
		s.Init, s.Limit, s.Step = h.expr(s.Init), h.expr(s.Limit), h.expr(s.Step)
		h.block(s.Stmts)
	case *ast.GenericForStmt:
		h.exprs(s.Exprs)
		h.block(s.Stmts)
	case *ast.FuncDefStmt:
		h.expr(s.Func)
	case *ast.ReturnStmt:
		h.exprs(s.Exprs)
	}
}

func (h *hardener) exprs(list []ast.Expr) {
	for i := range list {
		list[i] = h.expr(list[i])
	}
}

func (h *hardener) expr(e ast.Expr) ast.Expr {
	if e == nil {
		return nil
	}
	if !h.enter() {
		h.leave()
		return e
	}
	defer h.leave()
	switch e := e.(type) {
	case *ast.AttrGetExpr:
		e.Object, e.Key = h.expr(e.Object), h.expr(e.Key)
	case *ast.TableExpr:
		for _, f := range e.Fields {
			f.Key, f.Value = h.expr(f.Key), h.expr(f.Value)
		}
	case *ast.FuncCallExpr:
		e.Func, e.Receiver = h.expr(e.Func), h.expr(e.Receiver)
		h.exprs(e.Args)
	case *ast.LogicalOpExpr:
		e.Lhs, e.Rhs = h.expr(e.Lhs), h.expr(e.Rhs)
	case *ast.RelationalOpExpr:
		e.Lhs, e.Rhs = h.expr(e.Lhs), h.expr(e.Rhs)
	case *ast.ArithmeticOpExpr:
		e.Lhs, e.Rhs = h.expr(e.Lhs), h.expr(e.Rhs)
	case *ast.UnaryMinusOpExpr:
		e.Expr = h.expr(e.Expr)
	case *ast.UnaryNotOpExpr:
		e.Expr = h.expr(e.Expr)
	case *ast.UnaryLenOpExpr:
		e.Expr = h.expr(e.Expr)
	case *ast.FunctionExpr:
		h.block(e.Stmts)
	case *ast.StringConcatOpExpr:
		return h.concat(e)
	}
	return e
}

// maxOperands is how many strings one call joins; a longer row takes several.
const maxOperands = 40

func (h *hardener) concat(e *ast.StringConcatOpExpr) ast.Expr {
	var operands []ast.Expr
	var rest ast.Expr = e
	for { // a..b..c is a..(b..c): a row, not a depth
		c, more := rest.(*ast.StringConcatOpExpr)
		if !more {
			break
		}
		operands = append(operands, h.single(c.Lhs))
		rest = c.Rhs
	}
	operands = append(operands, h.single(rest))
	for len(operands) > maxOperands {
		from := len(operands) - maxOperands
		operands = append(operands[:from:from], h.join(e, operands[from:]))
	}
	return h.join(e, operands)
}

func (h *hardener) join(at *ast.StringConcatOpExpr, operands []ast.Expr) ast.Expr {
	name := &ast.IdentExpr{Value: concatName}
	call := &ast.FuncCallExpr{Func: name, Args: operands, AdjustRet: true}
	for _, n := range []ast.Expr{name, call} {
		n.SetLine(at.Line())
		n.SetLastLine(at.LastLine())
	}
	return call
}

// single is an operand as one value: as an argument, a call or "..." would give them all.
func (h *hardener) single(e ast.Expr) ast.Expr {
	switch e := h.expr(e).(type) {
	case *ast.FuncCallExpr:
		e.AdjustRet = true
		return e
	case *ast.Comma3Expr:
		e.AdjustRet = true
		return e
	default:
		return e
	}
}
