package graf

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"time"
)

// operation is one of the OpenAPI document's; the table of them is generated.
type operation struct{ id, method, path string }

// function is the one of Graf's functions that serves an operation.
type function string

const (
	submitFunction   function = "submit"
	callbackFunction function = "callback"
	memoryFunction   function = "memory"
)

// servedBy tells by the path, as the gateway and the routes of a cluster do.
func (o operation) servedBy() function {
	switch {
	case strings.HasSuffix(o.path, "/events"), strings.HasSuffix(o.path, "/actions"), strings.Contains(o.path, "/artifacts/"):
		return callbackFunction
	case strings.Contains(o.path, "/memory"):
		return memoryFunction
	default:
		return submitFunction
	}
}

// repeatable says whether doing it twice is as doing it once. All of the API is,
// by keys and by ids, but for these.
func (o operation) repeatable() bool {
	return o.id != operationUndoTask.id && o.id != operationPostTaskActions.id
}

// maxAnswer bounds what is read of an answer, in bytes.
const maxAnswer = 256 << 20

// call is one use of an operation.
type call struct {
	operation
	// arguments are those of the path, in its order.
	arguments []any
	query     url.Values
	header    http.Header
	// body is sent as JSON, nil for none.
	body any
}

// do sends the call until there is an answer or retry gives up, and decodes the
// answer into out, unless that is nil.
func (c *Client) do(ctx context.Context, call call, out any) error {
	var body []byte
	if call.body != nil {
		var err error
		if body, err = json.Marshal(call.body); err != nil {
			return fmt.Errorf("%s: %w", call.id, err)
		}
	}
	return c.again(ctx, call.repeatable(), func() error {
		ctx, cancel := context.WithTimeout(ctx, c.timeout)
		defer cancel()
		response, err := c.send(ctx, call, body)
		if err != nil {
			return err
		}
		defer func() { _ = response.Body.Close() }() // it was only read
		if out == nil {
			return nil
		}
		if err := json.NewDecoder(io.LimitReader(response.Body, maxAnswer)).Decode(out); err != nil {
			return fmt.Errorf("%s: read the answer: %w", call.id, brokenOff(err))
		}
		return nil
	})
}

// again calls once until it succeeds or retry gives up.
func (c *Client) again(ctx context.Context, repeatable bool, once func() error) error {
	for tries := 1; ; tries++ {
		err := once()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return because(ctx, err)
		}
		wait, ok := c.retry.wait(tries, err, repeatable)
		if !ok {
			return err
		}
		if pause(ctx, wait) != nil {
			return because(ctx, err)
		}
	}
}

// because is err with the reason that ctx ended, where err does not have it.
func because(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); !errors.Is(err, cause) {
		return fmt.Errorf("%w: %w", cause, err)
	}
	return err
}

// send sends the call once. The answer's status is one of success; a refusal is
// a [*Problem].
func (c *Client) send(ctx context.Context, call call, body []byte) (*http.Response, error) {
	request, err := c.request(ctx, call, body)
	if err != nil {
		return nil, err
	}
	response, err := c.roundTrip(request)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", call.id, err)
	}
	if response.StatusCode >= http.StatusOK && response.StatusCode < http.StatusMultipleChoices {
		return response, nil
	}
	defer func() { _ = response.Body.Close() }() // it was only read
	answer, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	problem := newProblem(call.id, response, answer)
	if err != nil {
		return nil, errors.Join(problem, err)
	}
	return nil, problem
}

// roundTrip sends a request; what fails while its answer is read is an ErrBrokenOff.
func (c *Client) roundTrip(request *http.Request) (*http.Response, error) {
	response, err := c.http.Do(request)
	if err != nil {
		return nil, err
	}
	response.Body = answerBody{response.Body}
	return response, nil
}

// answerBody is the body of an answer.
type answerBody struct{ io.ReadCloser }

// Read implements io.Reader.
func (b answerBody) Read(buffer []byte) (int, error) {
	n, err := b.ReadCloser.Read(buffer)
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("%w: %w", ErrBrokenOff, err)
	}
	return n, err
}

// brokenOff is err as ErrBrokenOff where the end came before that of the JSON.
func brokenOff(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: %w", ErrBrokenOff, io.ErrUnexpectedEOF)
	}
	return err
}

func (c *Client) request(ctx context.Context, call call, body []byte) (*http.Request, error) {
	address := c.urls[call.servedBy()] + call.expand()
	if len(call.query) > 0 {
		address += "?" + call.query.Encode()
	}
	var reader io.Reader
	if body != nil {
		reader = bytes.NewReader(body)
	}
	request, err := http.NewRequestWithContext(ctx, call.method, address, reader)
	if err != nil {
		return nil, final(fmt.Errorf("%s: %w", call.id, err))
	}
	token, err := c.token(ctx)
	if err != nil {
		return nil, final(fmt.Errorf("%s: get a token: %w", call.id, err))
	}
	for name, values := range call.header {
		request.Header[name] = values
	}
	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set("User-Agent", c.userAgent)
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	return request, nil
}

// expand puts the arguments into the path.
func (call call) expand() string {
	parts := strings.Split(call.path, "/")
	arguments := slices.Clone(call.arguments)
	for i, part := range parts {
		if strings.HasPrefix(part, "{") {
			parts[i] = url.PathEscape(fmt.Sprint(arguments[0]))
			arguments = arguments[1:]
		}
	}
	return strings.Join(parts, "/")
}

// encode is the query of a generated …Params struct: its fields with a form tag
// that are not zero.
func encode(params any) url.Values {
	query := url.Values{}
	fields := reflect.ValueOf(params)
	for i := range fields.NumField() {
		name, _, _ := strings.Cut(fields.Type().Field(i).Tag.Get("form"), ",")
		value := fields.Field(i)
		if name == "" || value.IsZero() {
			continue
		}
		if value.Kind() != reflect.Slice {
			query.Set(name, text(value))
			continue
		}
		for k := range value.Len() {
			query.Add(name, text(value.Index(k)))
		}
	}
	return query
}

func text(value reflect.Value) string {
	if at, ok := value.Interface().(time.Time); ok {
		return at.UTC().Format(time.RFC3339Nano)
	}
	return fmt.Sprint(value.Interface())
}

// hideQuery takes the query out of the error of a request, for that of a presigned
// one is a secret.
func hideQuery(err error) error {
	failure, ok := errors.AsType[*url.Error](err)
	if !ok {
		return err
	}
	address, _, _ := strings.Cut(failure.URL, "?")
	return &url.Error{Op: failure.Op, URL: address, Err: failure.Err}
}
