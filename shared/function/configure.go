package function

import (
	"errors"
	"fmt"
	"reflect"

	"github.com/caarlos0/env/v11"
)

// Configure reads the environment into config, a pointer to a struct with env
// tags, and validates it if it can be. The error names each bad variable.
func (s *Scope) Configure(config any) error {
	if err := ReadEnvironment(config, s.environment); err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	if v, ok := config.(interface{ Validate() error }); ok {
		if err := v.Validate(); err != nil {
			return fmt.Errorf("configuration: %w", err)
		}
	}
	return nil
}

// ReadEnvironment reads environment into config, a pointer to a struct with env
// tags. The error names each bad variable.
func ReadEnvironment(config any, environment map[string]string) error {
	if err := env.ParseWithOptions(config, env.Options{Environment: environment}); err != nil {
		return named(config, environment, err)
	}
	return nil
}

// named is err with the variables whose values could not be read. The library
// names the field of the struct instead, of which there may be several and which
// nobody knows who sets the variable. So each variable is read once more, alone.
func named(config any, environment map[string]string, err error) error {
	all, ok := errors.AsType[env.AggregateError](err)
	if !ok {
		return err
	}
	var errs []error
	for _, e := range all.Errors {
		if _, unread := errors.AsType[env.ParseError](e); !unread {
			errs = append(errs, e)
		}
	}
	fields, err := env.GetFieldParams(config)
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	for _, f := range fields {
		value, set := environment[f.Key]
		if !set {
			continue
		}
		fresh := reflect.New(reflect.TypeOf(config).Elem()).Interface()
		alone := env.Options{Environment: map[string]string{f.Key: value}}
		if unread, ok := errors.AsType[env.ParseError](env.ParseWithOptions(fresh, alone)); ok {
			errs = append(errs, fmt.Errorf("%s: %w", f.Key, unread.Err))
		}
	}
	return errors.Join(errs...)
}
