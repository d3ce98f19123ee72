package submit

import (
	"net/http"

	"github.com/graf-run/graf/shared/api"
)

func (h *handler) getTask(w http.ResponseWriter, r *http.Request, _ string) error {
	id, err := api.TaskIDFrom(r)
	if err != nil {
		return err
	}
	if err := h.validator.Parameters(r, api.OperationGetTask, nil); err != nil {
		return err
	}
	task, err := h.reader.Task(r.Context(), id)
	if err != nil {
		return err
	}
	api.Answer(w, r, http.StatusOK, task)
	return nil
}

func (h *handler) listTasks(w http.ResponseWriter, r *http.Request, _ string) error {
	var params api.ListTasksParams
	if err := h.validator.Parameters(r, api.OperationListTasks, &params); err != nil {
		return err
	}
	from, err := parseCursor(params.Cursor)
	if err != nil {
		return err
	}
	page, err := h.reader.List(r.Context(), Filter{
		Statuses: params.Status, Tags: params.Tag, Before: from.Before, Limit: params.Limit,
	})
	if err != nil {
		return err
	}
	api.Answer(w, r, http.StatusOK, page)
	return nil
}
