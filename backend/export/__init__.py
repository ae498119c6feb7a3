"""Annotations of a project as files that trainings read: COCO, YOLO, PNG."""
