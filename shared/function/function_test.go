package function_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/graf-run/graf/shared/function"
)

func status(t *testing.T, i *function.Instance) int {
	t.Helper()
	w := httptest.NewRecorder()
	i.Handle(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
	return w.Code
}

func ready(t *testing.T, i *function.Instance) bool {
	t.Helper()
	is, err := i.Ready(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return is
}

// journal notes what is closed, in its order.
type journal []string

func (j *journal) open(scope *function.Scope, name string, err error) {
	scope.OnStop(func(context.Context) error {
		*j = append(*j, name)
		return err
	})
}

var teapot = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })

func TestInstanceFromStartToStop(t *testing.T) {
	t.Parallel()
	var closed journal
	errRedis := errors.New("redis does not close")
	i := function.New("test", func(_ context.Context, scope *function.Scope) (http.Handler, error) {
		closed.open(scope, "postgres", nil)
		closed.open(scope, "redis", errRedis)
		scope.Close(func() { closed = append(closed, "sink") })
		return teapot, nil
	})
	if ready(t, i) || status(t, i) != http.StatusServiceUnavailable {
		t.Error("ready before its start")
	}
	if err := i.Start(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if !ready(t, i) || status(t, i) != http.StatusTeapot {
		t.Error("not ready after its start")
	}
	if err := i.Stop(t.Context()); !errors.Is(err, errRedis) {
		t.Errorf("Stop: %v, want %v", err, errRedis)
	}
	// What was opened last may need what was opened before.
	if want := []string{"sink", "redis", "postgres"}; !slices.Equal(closed, want) {
		t.Errorf("closed %v, want %v", closed, want)
	}
	if err := i.Stop(t.Context()); err != nil || len(closed) != 3 {
		t.Errorf("a second Stop: %v, closed %v", err, closed)
	}
}

func TestInstanceThatCannotStart(t *testing.T) {
	t.Parallel()
	var closed journal
	errStart := errors.New("no such bucket")
	i := function.New("test", func(_ context.Context, scope *function.Scope) (http.Handler, error) {
		closed.open(scope, "postgres", nil)
		return nil, errStart
	})
	if err := i.Start(t.Context(), nil); !errors.Is(err, errStart) || !strings.Contains(fmt.Sprint(err), "test") {
		t.Errorf("Start: %v, want %v and the function's name", err, errStart)
	}
	if !slices.Equal(closed, []string{"postgres"}) {
		t.Errorf("closed %v, want what was opened", closed)
	}
	if ready(t, i) || status(t, i) != http.StatusServiceUnavailable {
		t.Error("ready though it did not start")
	}
}

// The runtime starts in a goroutine: a signal may come before that is done.
func TestStopClosesWhatStillStarts(t *testing.T) {
	t.Parallel()
	var closed journal
	starting, finish := make(chan struct{}), make(chan struct{})
	i := function.New("test", func(_ context.Context, scope *function.Scope) (http.Handler, error) {
		close(starting)
		<-finish
		closed.open(scope, "postgres", nil)
		return teapot, nil
	})
	started, stopped := make(chan error, 1), make(chan error, 1)
	go func() { started <- i.Start(t.Context(), nil) }()
	<-starting
	go func() { stopped <- i.Stop(t.Context()) }()
	close(finish)
	if err := errors.Join(<-started, <-stopped); err != nil {
		t.Error(err)
	}
	if !slices.Equal(closed, []string{"postgres"}) {
		t.Errorf("closed %v, want what was opened", closed)
	}
}

type config struct {
	Name  string `env:"GRAF_NAME,required,notEmpty"`
	Max   int    `env:"GRAF_MAX" envDefault:"3"`
	Tasks struct {
		Max int `env:"GRAF_TASKS_MAX" envDefault:"4"`
	}
}

func configured(name string, most, tasks int) config {
	c := config{Name: name, Max: most}
	c.Tasks.Max = tasks
	return c
}

var errOdd = errors.New("GRAF_MAX must be odd")

func (c *config) Validate() error {
	if c.Max%2 == 0 {
		return errOdd
	}
	return nil
}

func TestConfigure(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		environment map[string]string
		want        config
		errors      []string // nil: none
	}{
		"defaults": {map[string]string{"GRAF_NAME": "a"}, configured("a", 3, 4), nil},
		"set":      {map[string]string{"GRAF_NAME": "a", "GRAF_MAX": "5", "GRAF_TASKS_MAX": "6"}, configured("a", 5, 6), nil},
		"each bad variable": {map[string]string{"GRAF_MAX": "many", "GRAF_TASKS_MAX": "more"}, config{},
			[]string{`"GRAF_NAME" is not set`, `GRAF_MAX: strconv.ParseInt: parsing "many"`, `GRAF_TASKS_MAX: strconv.ParseInt: parsing "more"`}},
		"no variable that is well": {map[string]string{"GRAF_NAME": "a", "GRAF_MAX": "5", "GRAF_TASKS_MAX": "more"}, config{},
			[]string{"configuration: GRAF_TASKS_MAX:"}},
		"validated": {map[string]string{"GRAF_NAME": "a", "GRAF_MAX": "4"}, config{}, []string{errOdd.Error()}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got config
			err := function.New("test", func(_ context.Context, scope *function.Scope) (http.Handler, error) {
				return teapot, scope.Configure(&got)
			}).Start(t.Context(), test.environment)
			if (err == nil) != (test.errors == nil) || (err == nil && got != test.want) {
				t.Errorf("got %+v, %v; want %+v, errors %v", got, err, test.want, test.errors)
			}
			for _, part := range test.errors {
				if !strings.Contains(fmt.Sprint(err), part) {
					t.Errorf("%v does not name %s", err, part)
				}
			}
		})
	}
}
