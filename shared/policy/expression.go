package policy

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/ext"
)

// maxCost bounds the evaluation of one expression, in CEL's units: about the number of operations.
const maxCost = 100_000

// The variables of expressions.
const (
	varCaller    = "caller"
	varProject   = "project"
	varTask      = "task"
	varVerb      = "verb"
	varResource  = "resource"
	varObject    = "object"
	varForce     = "force"
	varExecution = "execution"
)

// scope is where an expression stands, which says what variables it has.
type scope int

const (
	scopeRule scope = iota
	scopeResource
	scopeExecution
)

// environments are made once: they are immutable and cost milliseconds.
var environments = sync.OnceValues(func() ([]*cel.Env, error) {
	anything := cel.MapType(cel.StringType, cel.DynType)
	base, err := cel.NewEnv(
		ext.Strings(), ext.Sets(), cel.CrossTypeNumericComparisons(true),
		cel.Variable(varCaller, cel.StringType), cel.Variable(varProject, cel.StringType), cel.Variable(varTask, anything),
	)
	if err != nil {
		return nil, fmt.Errorf("make CEL's environment: %w", err)
	}
	resource, err := base.Extend(
		cel.Variable(varVerb, cel.StringType), cel.Variable(varForce, cel.BoolType),
		cel.Variable(varResource, anything), cel.Variable(varObject, cel.DynType),
	)
	if err != nil {
		return nil, fmt.Errorf("make CEL's environment: %w", err)
	}
	execution, err := base.Extend(cel.Variable(varExecution, anything))
	if err != nil {
		return nil, fmt.Errorf("make CEL's environment: %w", err)
	}
	return []*cel.Env{scopeRule: base, scopeResource: resource, scopeExecution: execution}, nil
})

// expression is a compiled condition. The zero value holds always.
type expression struct {
	program cel.Program
	// needsObject is whether it reads what only an action has: the object, or whether it forces.
	needsObject bool
}

// fault is a mistake in an expression; line counts from 1, column from 0, both within the expression.
type fault struct {
	line, column int
	message      string
}

// compile checks an expression and makes it ready.
func compile(text string, in scope) (expression, []fault) {
	if text == "" {
		return expression{}, nil
	}
	all, err := environments()
	if err != nil {
		return expression{}, []fault{{1, 0, err.Error()}}
	}
	ast, issues := all[in].Compile(text)
	if issues != nil && issues.Err() != nil {
		var faults []fault
		for _, e := range issues.Errors() {
			faults = append(faults, fault{e.Location.Line(), e.Location.Column(), e.Message})
		}
		return expression{}, faults
	}
	if kind := ast.OutputType(); kind != cel.BoolType && kind != cel.DynType {
		return expression{}, []fault{{1, 0, fmt.Sprintf("must be true or false, but is of type %s", kind)}}
	}
	program, err := all[in].Program(ast, cel.EvalOptions(cel.OptOptimize), cel.CostLimit(maxCost))
	if err != nil {
		return expression{}, []fault{{1, 0, err.Error()}}
	}
	e := expression{program: program}
	for _, reference := range ast.NativeRep().ReferenceMap() {
		e.needsObject = e.needsObject || slices.Contains([]string{varObject, varForce}, reference.Name)
	}
	return e, nil
}

var errNotBool = errors.New("is neither true nor false")

// holds evaluates the expression. An error, such as a field that is not there, counts as not holding; the caller says so.
func (e expression) holds(variables map[string]any) (bool, error) {
	if e.program == nil {
		return true, nil
	}
	value, _, err := e.program.Eval(variables)
	if err != nil {
		return false, err
	}
	held, ok := value.Value().(bool)
	if !ok {
		return false, errNotBool
	}
	return held, nil
}
