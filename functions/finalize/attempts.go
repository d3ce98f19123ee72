package finalize

import (
	"github.com/google/uuid"

	"github.com/graf-run/graf/shared/limiter"
)

// attempts are some to compare with their tasks, as columns of a statement.
type attempts struct {
	// ids are limiter.AttemptIDs.
	ids     []string
	tasks   []uuid.UUID
	numbers []int16
}

// add adds an attempt, and says whether it may be one of Graf's: whether its task is an id.
func (a *attempts) add(taskID string, attempt int) bool {
	task, err := uuid.Parse(taskID)
	if err != nil {
		return false
	}
	a.ids, a.tasks = append(a.ids, limiter.AttemptID(taskID, attempt)), append(a.tasks, task)
	a.numbers = append(a.numbers, int16(attempt)) //nolint:gosec // kube and limiter take no more where they read one
	return true
}
