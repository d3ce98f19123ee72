package limiter

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	maxPriority   = 9
	maxNamespaces = 50
	maxNameBytes  = 253
	// groupSeparator is inside what Redis stores; names may not contain control characters.
	groupSeparator = "\x1f"
)

// Task is what Slots knows of a task.
type Task struct {
	// ID names the attempt to run a task, best made by [AttemptID], so that a late Release of one attempt cannot
	// free the slot of the next.
	ID string
	// Caller and Namespaces say which caps the task counts against. A task counts once in each of its namespaces.
	Caller     string
	Namespaces []string
	// Priority is 0 to 9; higher goes first. Among equals the older CreatedAt goes first.
	Priority  int
	CreatedAt time.Time
}

// Lease is a held slot. It is freed by itself at Until.
type Lease struct {
	Task
	Until time.Time
}

// AttemptID names one attempt of a task.
func AttemptID(taskID string, attempt int) string { return taskID + "." + strconv.Itoa(attempt) }

// ParseAttemptID takes apart what [AttemptID] made.
func ParseAttemptID(id string) (taskID string, attempt int, err error) {
	taskID, number, found := strings.Cut(id, ".")
	// As wide as the database's column, so that no number wraps around there.
	parsed, err := strconv.ParseInt(number, 10, 16)
	if !found || err != nil || taskID == "" || parsed < 1 {
		return "", 0, fmt.Errorf("%q is not an attempt's id of the form TASK.NUMBER", id)
	}
	return taskID, int(parsed), nil
}

func (t Task) validate() error {
	if err := validName(t.ID); err != nil {
		return fmt.Errorf("task id %q: %w", t.ID, err)
	}
	if err := validName(t.Caller); err != nil {
		return fmt.Errorf("task %s: caller %q: %w", t.ID, t.Caller, err)
	}
	if len(t.Namespaces) > maxNamespaces {
		return fmt.Errorf("task %s: %d namespaces, at most %d are allowed", t.ID, len(t.Namespaces), maxNamespaces)
	}
	for _, namespace := range t.Namespaces {
		if err := validName(namespace); err != nil {
			return fmt.Errorf("task %s: namespace %q: %w", t.ID, namespace, err)
		}
	}
	if t.Priority < 0 || t.Priority > maxPriority {
		return fmt.Errorf("task %s: priority %d is not 0 to %d", t.ID, t.Priority, maxPriority)
	}
	// The bound keeps the order within its 15 digits.
	if ms := t.CreatedAt.UnixMilli(); ms < 0 || ms >= 1e14 {
		return fmt.Errorf("task %s: time of creation %v is out of range", t.ID, t.CreatedAt)
	}
	return nil
}

func validName(name string) error {
	if name == "" || len(name) > maxNameBytes {
		return fmt.Errorf("must have 1 to %d bytes", maxNameBytes)
	}
	if strings.ContainsFunc(name, func(r rune) bool { return r < ' ' }) {
		return errors.New("must not contain control characters")
	}
	return nil
}

// order sorts tasks as text and as a number, of 15 digits: priority first, inverted, then age in milliseconds.
func (t Task) order() string {
	return fmt.Sprintf("%d%014d", maxPriority-t.Priority, t.CreatedAt.UnixMilli())
}

// group names all tasks that count against the very same caps. When one of a group does not fit, none does.
func (t Task) group() string {
	namespaces := slices.Compact(slices.Sorted(slices.Values(t.Namespaces)))
	return strings.Join(append([]string{t.Caller}, namespaces...), groupSeparator)
}
