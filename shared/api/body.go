package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/graf-run/graf/shared/problem"
)

// The media types of bodies.
const (
	jsonMediaType   = "application/json"
	ndjsonMediaType = "application/x-ndjson"
)

// DecodeBody reads the operation's JSON body of at most maxBytes into the
// struct that into points to. Its errors are of package problem: ErrTooLarge,
// ErrUnsupportedMediaType, ErrBadRequest for what is not JSON, ErrInvalid with
// each bad field. A body that may be left out and is leaves into alone.
func (v *Validator) DecodeBody(r *http.Request, operationID string, maxBytes int64, into any) error {
	o, ok := v.operations[operationID]
	if !ok || o.body == nil {
		return fmt.Errorf("api: operation %q has no body", operationID)
	}
	data, err := readBody(r, maxBytes)
	if err != nil {
		return err
	}
	if len(data) == 0 && !o.bodyRequired {
		return nil
	}
	if _, err := mediaType(r, jsonMediaType); err != nil {
		return err
	}
	return decode(data, o.body, into)
}

// Decode reads JSON that must match one of the document's schemas, for instance
// [SchemaTaskSubmission], into the struct that into points to. Its errors are
// those of DecodeBody.
func (v *Validator) Decode(data []byte, schema string, into any) error {
	compiled, ok := v.schemas[schema]
	if !ok {
		return fmt.Errorf("api: schema %q is not compiled", schema)
	}
	return decode(data, compiled, into)
}

// DecodeEvents reads the body of postTaskEvents: one event, an array, or one
// event a line. Pointers start with the event's index unless one event came by
// itself. Its errors are those of DecodeBody.
func (v *Validator) DecodeEvents(r *http.Request, maxBytes int64) ([]Event, error) {
	data, err := readBody(r, maxBytes)
	if err != nil {
		return nil, err
	}
	media, err := mediaType(r, jsonMediaType, ndjsonMediaType)
	if err != nil {
		return nil, err
	}
	if media == ndjsonMediaType {
		return v.decodeLines(data)
	}
	if bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("[")) {
		var events []Event
		return events, decode(data, v.schemas["EventBatch"], &events)
	}
	var event Event
	if err := decode(data, v.schemas["Event"], &event); err != nil {
		return nil, err
	}
	return []Event{event}, nil
}

// decodeLines reads NDJSON. Lines that are blank are no events.
func (v *Validator) decodeLines(data []byte) ([]Event, error) {
	var events []Event
	var fields []problem.FieldError
	line := 0
	for text := range bytes.Lines(data) {
		line++
		if len(bytes.TrimSpace(text)) == 0 {
			continue
		}
		if len(events) == MaxEvents {
			return nil, problem.ErrInvalid.Fields(problem.FieldError{Detail: fmt.Sprintf("must have at most %d events", MaxEvents)})
		}
		var event Event
		err := decodeLine(bytes.TrimRight(text, "\r\n"), line, v.schemas["Event"], &event)
		if errors.Is(err, problem.ErrBadRequest) {
			return nil, err
		}
		for _, field := range problem.FieldErrors(err) {
			field.Pointer = "/" + strconv.Itoa(len(events)) + field.Pointer
			fields = append(fields, field)
		}
		if err != nil && len(fields) == 0 {
			return nil, err
		}
		events = append(events, event)
	}
	if len(events) == 0 {
		return nil, problem.ErrBadRequest.With("The body is empty; send one event a line.")
	}
	if len(fields) > maxFieldErrors {
		fields = fields[:maxFieldErrors]
	}
	if len(fields) > 0 {
		return nil, problem.ErrInvalid.Fields(fields...)
	}
	return events, nil
}

// decode checks data before it reads it into a struct.
func decode(data []byte, schema *jsonschema.Schema, into any) error {
	return decodeLine(data, 1, schema, into)
}

// decodeLine is decode for data that begins in a later line of a body.
func decodeLine(data []byte, line int, schema *jsonschema.Schema, into any) error {
	value, err := parse(data, line)
	if err != nil {
		return err
	}
	if fields := check(schema, value); len(fields) > 0 {
		return problem.ErrInvalid.Fields(fields...)
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("api: the schema allows what %T does not: %w", into, err)
	}
	return nil
}

// readBody reads at most maxBytes, and none if the client announces more.
func readBody(r *http.Request, maxBytes int64) ([]byte, error) {
	tooLarge := problem.ErrTooLarge.With("The body must be at most %d bytes.", maxBytes)
	if r.ContentLength > maxBytes {
		return nil, tooLarge
	}
	if encoding := r.Header.Get("Content-Encoding"); encoding != "" && encoding != "identity" {
		return nil, problem.ErrUnsupportedMediaType.With("Content-Encoding must be left out; bodies are read as they are.")
	}
	var data bytes.Buffer
	data.Grow(int(max(r.ContentLength, 0)) + bytes.MinRead)
	_, err := data.ReadFrom(http.MaxBytesReader(nil, r.Body, maxBytes))
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, tooLarge
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, problem.ErrBadRequest.With("The body ended early.")
	}
	if err != nil {
		return nil, problem.ErrBadRequest.With("The body could not be read.").Because(err)
	}
	return data.Bytes(), nil
}

// mediaType is the request's Content-Type if it is one of allowed.
func mediaType(r *http.Request, allowed ...string) (string, error) {
	media, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	charset := params["charset"]
	for _, want := range allowed {
		if err == nil && media == want && (charset == "" || strings.EqualFold(charset, "utf-8")) {
			return media, nil
		}
	}
	return "", problem.ErrUnsupportedMediaType.With("Content-Type must be %s, in UTF-8.", strings.Join(allowed, " or "))
}
