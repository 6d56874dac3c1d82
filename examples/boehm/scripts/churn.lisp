;;; SPDX-License-Identifier: MIT
;;; churn.lisp - old hash tables get young values all the time; every one is
;;; verified.  Run by the tests and measurements: ecl --shell churn.lisp [ROUNDS]
(defparameter *rounds*
  (let ((last (car (last (ext:command-args)))))
    (or (parse-integer last :junk-allowed t) 12)))
(defparameter *slots* 40000)
(defvar *seed* 1)

(defun next-random (n)
  (setf *seed* (mod (+ (* *seed* 1103515245) 12345) 2147483648))
  (mod (floor *seed* 7) n))

(defun make-value (id)
  (list id (format nil "~d" id) (vector id (* id 3))))

(defun whole-p (v id)
  (and (consp v)
       (eql (first v) id)
       (string= (second v) (format nil "~d" id))
       (eql (aref (third v) 1) (* id 3))))

(defvar *table* (make-array *slots*))
(defvar *ids* (make-array *slots*))

(defun put (at id)
  (setf (aref *table* at) (make-value id)
        (aref *ids* at) id))

(dotimes (i *slots*) (put i i))
(dotimes (round *rounds*)
  (dotimes (i 10000)
    (put (next-random *slots*) (+ i (* (1+ round) 100000)))))
(dotimes (i *slots*)
  (unless (whole-p (aref *table* i) (aref *ids* i))
    (format *error-output* "churn: value ~d was lost~%" i)
    (ext:quit 1)))
(format t "churn: ~d values are whole~%" *slots*)
(ext:quit 0)
