package caddymodule

import (
	"fmt"

	"cel.dev/cel-go/cel"
	celast "cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/ext"
)

// expression is a rule in CEL over `claims`, a map of the session's claims, `user`
// and `provider`. It sees nothing of the request.
type expression struct {
	program    cel.Program
	partial    cel.Program // the same, where a claim could not be learned
	reads      []string    // the claims
	ofProvider bool        // it asks whose
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
	if compiled.partial, err = env.Program(ast, cel.EvalOptions(cel.OptPartialEval), cel.CostLimit(100_000)); err != nil {
		return nil, fmt.Errorf("expression: %w", err)
	}
	for _, read := range celast.MatchDescendants(celast.NavigateAST(ast.NativeRep()), celast.AllMatcher()) {
		name, operand := claimRead(read)
		if operand == nil {
			continue
		}
		if isComputed(name) {
			return nil, fmt.Errorf("expression: %s is no claim; user and provider stand without claims", name)
		}
		compiled.reads = append(compiled.reads, name)
		need(name)
	}
	for _, use := range celast.MatchDescendants(celast.NavigateAST(ast.NativeRep()), celast.KindMatcher(celast.IdentKind)) {
		compiled.ofProvider = compiled.ofProvider || use.AsIdent() == "provider"
		if use.AsIdent() == "claims" && !parentReads(use) {
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
// refuses, a deny that errs denies. deny sees an e-mail address that nobody vouches
// for. A claim that could not be learned may be anything: where that decides, it is an
// error.
func (e *expression) eval(who *identity, deny bool) (bool, error) {
	claims := make(map[string]any, len(e.reads))
	var unknown []*cel.AttributePatternType
	for _, name := range e.reads {
		value := who.claim(name)
		if object, isObject := value.(map[string]any); isObject && len(object) == 0 {
			unknown = append(unknown, cel.AttributePattern("claims").QualString(name))
			continue
		}
		switch {
		case name == "email" && who.email() == "" && !deny:
			continue // not vouched for
		case name == "groups":
			groups := who.values(name, deny)
			if value != nil {
				claims[name] = groups // with their provider's name, as everywhere
			}
		case value != nil:
			claims[name] = plainValue(value)
		}
	}
	result, err := e.run(map[string]any{
		"claims": claims, "user": who.user(), "provider": who.session.Provider,
	}, unknown)
	if err != nil {
		return false, err
	}
	answer, isBool := result.(types.Bool)
	if !isBool {
		return false, fmt.Errorf("the expression is %s, not a bool", result.Type())
	}
	return bool(answer), nil
}

func (e *expression) run(variables map[string]any, unknown []*cel.AttributePatternType) (ref.Val, error) {
	if unknown == nil {
		result, _, err := e.program.Eval(variables)
		return result, err
	}
	some, err := cel.PartialVars(variables, unknown...)
	if err != nil {
		return nil, err
	}
	result, _, err := e.partial.Eval(some) // unknown, where such a claim decides
	return result, err
}
