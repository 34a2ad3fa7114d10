package caddymodule

import (
	"fmt"

	"cel.dev/cel-go/cel"
	celast "cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/ext"
)

// expression is a rule in CEL over `claims`, a map of the session's claims, `user`
// and `provider`. It sees nothing of the request.
type expression struct {
	program cel.Program
	reads   []string
}

// compileExpression compiles a rule and names the claims that it reads.
func compileExpression(text string, need func(claim string)) (*expression, error) {
	env, err := cel.NewEnv(
		cel.Variable("claims", cel.MapType(cel.StringType, cel.DynType)),
		cel.Variable("user", cel.StringType),
		cel.Variable("provider", cel.StringType),
		ext.Strings(),
	)
	if err != nil {
		return nil, err
	}
	ast, issues := env.Compile(text)
	if issues.Err() != nil {
		return nil, fmt.Errorf("expression: %w", issues.Err())
	}
	if ast.OutputType() != cel.BoolType && ast.OutputType() != cel.DynType {
		return nil, fmt.Errorf("expression: its value is %s, not a bool", ast.OutputType())
	}
	compiled := new(expression)
	if compiled.program, err = env.Program(ast, cel.EvalOptions(cel.OptOptimize), cel.CostLimit(100_000)); err != nil {
		return nil, fmt.Errorf("expression: %w", err)
	}
	named := make(map[celast.Expr]bool)
	for _, read := range celast.MatchDescendants(celast.NavigateAST(ast.NativeRep()), celast.AllMatcher()) {
		name, operand := claimRead(read)
		if operand == nil {
			continue
		}
		named[operand] = true
		compiled.reads = append(compiled.reads, name)
		need(name)
	}
	for _, use := range celast.MatchDescendants(celast.NavigateAST(ast.NativeRep()), celast.AllMatcher()) {
		if use.Kind() == celast.IdentKind && use.AsIdent() == "claims" && !parentReads(use) {
			return nil, fmt.Errorf("expression: name each claim, as claims.groups or claims[\"groups\"]; a session holds only what is named")
		}
	}
	return compiled, nil
}

// claimRead recognises claims.name and claims["name"].
func claimRead(e celast.NavigableExpr) (string, celast.Expr) {
	switch e.Kind() {
	case celast.SelectKind:
		if operand := e.AsSelect().Operand(); operand.Kind() == celast.IdentKind && operand.AsIdent() == "claims" {
			return e.AsSelect().FieldName(), operand
		}
	case celast.CallKind:
		call := e.AsCall()
		if call.FunctionName() != "_[_]" || len(call.Args()) != 2 {
			return "", nil
		}
		operand, index := call.Args()[0], call.Args()[1]
		if operand.Kind() == celast.IdentKind && operand.AsIdent() == "claims" && index.Kind() == celast.LiteralKind {
			if name, isString := index.AsLiteral().(types.String); isString {
				return string(name), operand
			}
		}
	}
	return "", nil
}

func parentReads(use celast.NavigableExpr) bool {
	parent, has := use.Parent()
	if !has {
		return false
	}
	_, operand := claimRead(parent)
	return operand != nil
}

// eval runs the rule for an identity. A claim that is absent is absent from the
// map as well, so that reading it without has() is an error: an allow that errs
// refuses, a deny that errs denies.
func (e *expression) eval(who *identity) (bool, error) {
	claims := make(map[string]any, len(e.reads))
	for _, name := range e.reads {
		if name == "email" && who.email() == "" {
			continue // not vouched for
		}
		if value := plainValue(who.claim(name)); value != nil {
			claims[name] = value
		}
	}
	result, _, err := e.program.Eval(map[string]any{
		"claims": claims, "user": who.user(), "provider": who.session.Provider,
	})
	if err != nil {
		return false, err
	}
	return result == types.True, nil
}
