package callback

import (
	"encoding/json"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/graf-run/graf/shared/api"
	"github.com/graf-run/graf/shared/postgrestest"
	"github.com/graf-run/graf/shared/tasktest"
)

func TestReusedEventIDsAreNoticed(t *testing.T) {
	t.Parallel()
	pool, err := pgxpool.New(t.Context(), postgrestest.URL(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	task := tasktest.Running(t, pool, tasktest.Task{})
	tasktest.Report(t, pool, task.ID, "progress", "half way") // Its id is event-1.
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(t.Context()) }()
	for name, test := range map[string]struct {
		entry  Entry
		reused int
	}{
		"the same":      {Entry{EventID: "event-1", Type: api.EventTypeProgress, Content: json.RawMessage(`"half\u0020way"`)}, 0},
		"other content": {Entry{EventID: "event-1", Type: api.EventTypeProgress, Content: json.RawMessage(`"done"`)}, 1},
		"no content":    {Entry{EventID: "event-1", Type: api.EventTypeProgress}, 1},
		"another type":  {Entry{EventID: "event-1", Type: api.EventTypeLog, Content: json.RawMessage(`"half way"`)}, 1},
		"another id":    {Entry{EventID: "event-2", Type: api.EventTypeLog}, 0},
	} {
		held, err := hold(t.Context(), tx, Report{Reporter: Reporter{TaskID: task.ID, Attempt: 1}, Entries: []Entry{test.entry}})
		if err != nil || len(held.reused) != test.reused {
			t.Errorf("%s: reused %v, %v", name, held, err)
		}
	}
}
