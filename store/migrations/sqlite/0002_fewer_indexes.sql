-- A case's rows are found by its requests: an index of a hundred rows a request costs as much as the rows.
DROP INDEX ltr_shadow_log_case;
