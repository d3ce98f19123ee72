package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"

	"github.com/graf-run/graf/shared/problem"
)

// maxFieldErrors is the most fields that one answer names.
const maxFieldErrors = 50

// check validates value and says what is wrong with each field, nil if nothing
// is. Counts come first: content is looked at only once no list is too long,
// so that a large bad body cannot make a much larger list of errors.
func check(schema *jsonschema.Schema, value any) []problem.FieldError {
	if fault := checkCounts(schema, value); fault != nil {
		return []problem.FieldError{fault.field}
	}
	err := schema.Validate(value)
	invalid, ok := errors.AsType[*jsonschema.ValidationError](err)
	if !ok {
		return nil
	}
	fields := describe(invalid, nil)
	// Objects have no order, so ours is the pointers'.
	slices.SortFunc(fields, func(a, b problem.FieldError) int {
		return strings.Compare(a.Pointer+"\x00"+a.Detail, b.Pointer+"\x00"+b.Detail)
	})
	fields = slices.Compact(fields)
	if more := len(fields) - maxFieldErrors; more > 0 {
		fields = append(fields[:maxFieldErrors], problem.FieldError{Detail: fmt.Sprintf("%d more fields are not valid", more)})
	}
	return fields
}

// checkCounts finds the first list or object that is longer than the schema
// lets it be, before anything looks at what is in it.
func checkCounts(schema *jsonschema.Schema, value any) *fieldFault {
	for schema != nil && schema.Ref != nil {
		schema = schema.Ref
	}
	if schema == nil {
		return nil
	}
	switch value := value.(type) {
	case []any:
		return checkItems(schema, value)
	case map[string]any:
		return checkMembers(schema, value)
	default:
		return nil
	}
}

func checkItems(schema *jsonschema.Schema, items []any) *fieldFault {
	if schema.MaxItems != nil && len(items) > *schema.MaxItems {
		return newFault("must have at most %d items, has %d", *schema.MaxItems, len(items))
	}
	if schema.Items2020 == nil {
		return nil
	}
	for i, item := range items {
		if fault := checkCounts(schema.Items2020, item); fault != nil {
			return fault.in(strconv.Itoa(i))
		}
	}
	return nil
}

func checkMembers(schema *jsonschema.Schema, members map[string]any) *fieldFault {
	if schema.MaxProperties != nil && len(members) > *schema.MaxProperties {
		return newFault("must have at most %d fields, has %d", *schema.MaxProperties, len(members))
	}
	for name, sub := range schema.Properties {
		if member, ok := members[name]; ok {
			if fault := checkCounts(sub, member); fault != nil {
				return fault.in(name)
			}
		}
	}
	return nil
}

// describe adds what err and its causes say to fields.
func describe(err *jsonschema.ValidationError, fields []problem.FieldError) []problem.FieldError {
	at := pointer(err.InstanceLocation)
	add := func(pointer, detail string) {
		fields = append(fields, problem.FieldError{Pointer: pointer, Detail: detail})
	}
	switch k := err.ErrorKind.(type) {
	case *kind.Required:
		for _, name := range k.Missing {
			add(at+"/"+escapeToken(name), "is required")
		}
	case *kind.AdditionalProperties:
		for _, name := range k.Properties[:min(len(k.Properties), maxFieldErrors+1)] {
			add(at+"/"+escapeToken(name), "is not a known field")
		}
	case *kind.UniqueItems:
		add(at+"/"+strconv.Itoa(k.Duplicates[1]), fmt.Sprintf("is the same as item %d", k.Duplicates[0]))
	case *kind.AnyOf, *kind.OneOf:
		add(at, "matches none of the forms that are allowed here")
	default:
		if len(err.Causes) == 0 {
			add(at, detail(k))
		}
		for _, cause := range err.Causes {
			fields = describe(cause, fields)
		}
	}
	return fields
}

// detail is what one keyword demands, without the value, which may be secret
// or long.
func detail(k jsonschema.ErrorKind) string {
	switch k := k.(type) {
	case violation:
		return string(k)
	case *kind.Type:
		return "must be " + anyOf(k.Want)
	case *kind.Enum:
		return "must be one of " + literals(k.Want)
	case *kind.Const:
		return "must be " + literals([]any{k.Want})
	case *kind.Format:
		return formatDetail(k.Want)
	case *kind.Pattern:
		return "must match the pattern " + k.Want
	case *kind.MinLength:
		return fmt.Sprintf("must be at least %d characters long, is %d", k.Want, k.Got)
	case *kind.MaxLength:
		return fmt.Sprintf("must be at most %d characters long, is %d", k.Want, k.Got)
	case *kind.MinItems:
		return fmt.Sprintf("must have at least %d items, has %d", k.Want, k.Got)
	case *kind.Minimum:
		return "must be at least " + number(k.Want)
	case *kind.Maximum:
		return "must be at most " + number(k.Want)
	case *kind.Not, *kind.FalseSchema:
		return "is not allowed together with the other fields"
	default:
		return "is not valid"
	}
}

// anyOf is "a string or an object".
func anyOf(types []string) string {
	names := make([]string, len(types))
	for i, name := range types {
		switch name {
		case "null":
			names[i] = name
		case "array", "integer", "object":
			names[i] = "an " + name
		default:
			names[i] = "a " + name
		}
	}
	return strings.Join(names, " or ")
}

// literals is the values as JSON.
func literals(values []any) string {
	texts := make([]string, len(values))
	for i, value := range values {
		text, err := json.Marshal(value)
		if err != nil {
			text = fmt.Append(nil, value)
		}
		texts[i] = string(text)
	}
	return strings.Join(texts, ", ")
}

// number is r as a person would write it.
func number(r *big.Rat) string {
	if r.IsInt() {
		return r.Num().String()
	}
	f, _ := r.Float64()
	return strconv.FormatFloat(f, 'g', -1, 64)
}

// formatDetail names a format.
func formatDetail(format string) string {
	switch format {
	case "uuid":
		return "must be a UUID, such as 01985c1e-7b4a-7c3e-9d52-5f0a4c1b2e3d"
	case "date-time":
		return "must be an RFC 3339 time, such as 2026-01-05T10:00:00Z"
	default:
		return "must be of the format " + format
	}
}

// pointer is RFC 6901.
func pointer(tokens []string) string {
	var b strings.Builder
	for _, token := range tokens {
		b.WriteByte('/')
		b.WriteString(escapeToken(token))
	}
	return b.String()
}
